"""A real S3 server, moto's, as a process on loopback, and where boto3 finds it."""

import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest

from tasks.download.s3_client import shared_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Searched for in all that is written: no message may have it.
SECRET = "the-secret-that-none-may-quote"

PAGE = 5  # keys of one answer to a listing

_PATIENCE_S = 60
# Nothing of the user, and no request to the address where machines of AWS find credentials.
_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "tester",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "127.0.0.1",
}


@dataclass
class S3:
    """A server.

    Attributes:
        endpoint: Its URL.
    """

    endpoint: str
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def new_bucket(self) -> str:
        """Return the name of an empty bucket."""
        name = f"bucket-{next(self._numbers)}"
        self.client.create_bucket(Bucket=name)
        return name

    def put(self, bucket: str, **objects: bytes) -> None:
        """Write objects, by their keys."""
        for key, content in objects.items():
            self.client.put_object(Bucket=bucket, Key=key, Body=content)

    @cached_property
    def client(self) -> "S3Client":
        """A client of the server."""
        client: S3Client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="tester",
            aws_secret_access_key=SECRET,
        )
        return client


def use_endpoint(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let boto3 find a server and credentials in the environment, and nothing else."""
    for name, value in _ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    shared_client.cache_clear()


@contextmanager
def running_s3() -> Iterator[S3]:
    """Run a server until the block ends."""
    for attempt in range(3):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
        program = str(Path(sys.executable).with_name("moto_server"))
        process = subprocess.Popen(
            [program, "-H", "127.0.0.1", "-p", str(port)],
            env=os.environ | {"MOTO_S3_DEFAULT_MAX_KEYS": str(PAGE)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            if _answers(process, port):
                yield S3(f"http://127.0.0.1:{port}")
                return
        finally:
            process.kill()
            process.wait(_PATIENCE_S)
        assert attempt < 2  # another process may have taken the port


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait for a server; return whether it answers, and has not ended instead."""
    deadline = time.monotonic() + _PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True
        time.sleep(0.02)
    return False
