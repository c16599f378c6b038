"""The servers of `deployments/cluster`, started as its compose file says, but on loopback."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
import httpx
import psycopg

from tasks.common.settings import REPOSITORY
from tests.support.cluster_files import FOLDER, composed_parts
from tests.support.operation import free_ports
from tests.support.postgres import PASSWORD, USER, Postgres
from tests.support.scoring_command import wait_until

SECRETS = {"POSTGRES_PASSWORD": PASSWORD, "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "secret"}
PARTS = {part.name: part for part in composed_parts()}


def make_databases(postgres: Postgres) -> None:
    """Make the databases as a new PostgreSQL of the compose file has them, without tables."""
    script = (FOLDER / "postgres" / "databases.sql").read_text(encoding="utf-8")
    with psycopg.connect(postgres.address_of("postgres"), autocommit=True) as connection:
        connection.execute("drop database if exists prefect")
        connection.execute("drop database if exists mlflow")
        connection.execute("create database prefect")  # as the image does
        connection.execute(script)


class Servers:
    """The parts that are started, each on a port of its own."""

    def __init__(self, folder: Path, postgres: Postgres) -> None:
        self.folder = folder
        ports = [*free_ports(5), postgres.port]
        known = {"mlflow": 5000, "prefect": 4200, "scheduler": 8786, "s3": 8333, "health": 8787}
        self.ports = dict(zip([*known, "postgres"], map(str, ports), strict=True))
        self._replaced = {
            **{str(port): self.ports[name] for name, port in known.items()},
            "5432": self.ports["postgres"],
            "0.0.0.0": "127.0.0.1",
            "/run/tls": str(folder / "tls"),
            "/srv/var": str(folder / "var"),
            "millstream@postgres": f"{USER}@postgres",
        }

    def on_loopback(self, text: str) -> str:
        """Return a text of the compose file with what has another value here."""
        for written, here in self._replaced.items():
            text = text.replace(written, here)
        for name in ("postgres", "s3", "scheduler"):
            text = text.replace(f"{name}:{self.ports[name]}", f"127.0.0.1:{self.ports[name]}")
        return text

    def environment(self, name: str) -> dict[str, str]:
        """Return the variables of a part."""
        part = PARTS[name]
        given = {key: self.on_loopback(value) for key, value in part.environment.items()}
        secrets = {key: SECRETS[secret] for key, secret in part.secrets.items()}
        # By names: on loopback a database has the owner that the tests give it.
        server = {"PREFECT_SERVER_DATABASE_HOST": "127.0.0.1", "PREFECT_SERVER_DATABASE_USER": USER}
        server = {key: server[key] for key in server if key in given}
        return os.environ | {"MILLSTREAM_HOME": str(self.folder / "var")} | given | secrets | server

    @contextmanager
    def started(self, name: str, *command: str) -> Iterator[None]:
        """Run a part, or another command with its variables, until the end of the block."""
        words = command or tuple(map(self.on_loopback, PARTS[name].command[1:]))
        with (self.folder / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, *words],
                cwd=REPOSITORY,
                env=self.environment(name),
                stdout=log,
                stderr=log,
            )
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)

    def address(self, name: str) -> str:
        """Return the address of a server."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def answers(self, name: str, path: str, host: str = "") -> int:
        """Return the status of an answer, or 0 without one."""
        headers = {"Host": f"{host}:{self.ports[name]}"} if host else {}
        with suppress(httpx.TransportError):
            return httpx.get(self.address(name) + path, headers=headers).status_code
        return 0

    def wait_for(self, name: str, path: str) -> None:
        """Wait until a server is healthy."""
        wait_until(lambda: self.answers(name, path) == 200, f"{name} at {path}", every=0.5)


def s3_client(servers: Servers) -> Any:
    """Return a client of the S3 server."""
    return boto3.client(
        "s3",
        endpoint_url=servers.address("s3"),
        region_name="us-east-1",
        aws_access_key_id=SECRETS["S3_ACCESS_KEY"],
        aws_secret_access_key=SECRETS["S3_SECRET_KEY"],
    )
