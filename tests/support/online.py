"""`python -m deployments.serve` as a process, for tests of the whole."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

START_TIMEOUT_S = 120


@dataclass(frozen=True)
class OnlineServer:
    """A server that answers.

    Attributes:
        address: Its URL.
        process: Its process.
        log: Its output.
    """

    address: str
    process: "subprocess.Popen[bytes]"
    log: Path


def serve_command(port: int, *options: str) -> list[str]:
    return [sys.executable, "-m", "deployments.serve", "--port", str(port), *options]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_loaded(address: str) -> bool:
    try:
        return httpx.get(f"{address}/ping").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


@contextmanager
def online_server(folder: Path, *options: str) -> Iterator[OnlineServer]:
    """Serve the champion of the settings' state folder until the end of the block."""
    port, log = free_port(), folder / "serve.log"
    address = f"http://127.0.0.1:{port}"
    with log.open("w") as output:
        process = subprocess.Popen(serve_command(port, *options), stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not is_loaded(address):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield OnlineServer(address, process, log)
    finally:
        for child in psutil.Process(process.pid).children() if process.poll() is None else []:
            child.kill()
        process.kill()
        process.wait()
