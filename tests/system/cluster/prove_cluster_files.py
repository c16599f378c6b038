"""The servers of `deployments/cluster`, started as its compose file says, but on loopback.

MLflow and Prefect on PostgreSQL, artifacts on an S3 server, and the scheduler of Dask with TLS.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
import httpx
import mlflow
import psycopg
import pytest

from tasks.common.settings import REPOSITORY
from tests.support.cluster_files import FOLDER, composed_parts, shown_command
from tests.support.operation import free_ports
from tests.support.postgres import PASSWORD, USER, Postgres
from tests.support.scoring_command import wait_until

PAGE = REPOSITORY / "docs" / "cluster_files.md"
SECRETS = {"POSTGRES_PASSWORD": PASSWORD, "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "secret"}
PARTS = {part.name: part for part in composed_parts()}

CONNECT = """
import sys
from distributed import Client
with Client(sys.argv[1], timeout=10) as client:
    print(client.scheduler_info()["address"], *client.nthreads())
"""


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


@pytest.fixture
def servers(tmp_path: Path, postgres: Postgres) -> Servers:
    return Servers(tmp_path, postgres)


def test_mlflow_keeps_runs_in_postgresql_and_artifacts_on_s3(
    servers: Servers, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (FOLDER / "postgres" / "databases.sql").read_text(encoding="utf-8")
    with psycopg.connect(postgres.address_of("postgres"), autocommit=True) as connection:
        connection.execute(script)
    with ExitStack() as stack:
        listening = ("-H", "127.0.0.1", "-p", servers.ports["s3"])
        stack.enter_context(servers.started("s3", "-m", "moto.server", *listening))
        servers.wait_for("s3", "/moto-api/")
        bucket = _s3(servers)
        bucket.create_bucket(Bucket="millstream")
        stack.enter_context(servers.started("mlflow"))
        servers.wait_for("mlflow", "/health")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", servers.address("mlflow"))
        mlflow.set_tracking_uri(servers.address("mlflow"))
        experiment = mlflow.create_experiment("cluster")
        with mlflow.start_run(experiment_id=experiment) as run:
            mlflow.log_text("a text", "a.txt")
        stored = bucket.list_objects_v2(Bucket="millstream")["Contents"]
        assert [found["Key"] for found in stored] == [
            f"mlflow/{experiment}/{run.info.run_id}/artifacts/a.txt"
        ]
        search = "/api/2.0/mlflow/experiments/get?experiment_id=0"
        assert servers.answers("mlflow", search, host="mlflow") == 200
        assert servers.answers("mlflow", search, host="elsewhere.example.org") == 403
    with psycopg.connect(postgres.address_of("mlflow")) as connection:
        found = connection.execute("select run_uuid from runs").fetchall()
    assert found == [(run.info.run_id,)]
    assert PASSWORD not in (servers.folder / "mlflow.log").read_text()


def _s3(servers: Servers) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=servers.address("s3"),
        region_name="us-east-1",
        aws_access_key_id=SECRETS["S3_ACCESS_KEY"],
        aws_secret_access_key=SECRETS["S3_SECRET_KEY"],
    )


def test_prefect_answers_the_parts_by_its_name_and_uses_postgresql(
    servers: Servers, postgres: Postgres
) -> None:
    with psycopg.connect(postgres.address_of("postgres"), autocommit=True) as connection:
        connection.execute("create database prefect")
    with servers.started("prefect"):
        servers.wait_for("prefect", "/api/health")
        assert servers.answers("prefect", "/api/health", host="prefect") == 200
        assert servers.answers("prefect", "/api/health", host="elsewhere.example.org") == 403
    with psycopg.connect(postgres.address_of("prefect")) as connection:
        assert connection.execute("select count(*) from flow").fetchone() == (0,)
    assert PASSWORD not in (servers.folder / "prefect.log").read_text()


def test_the_scheduler_takes_who_has_the_certificate_alone(servers: Servers) -> None:
    for folder in ("tls", "other"):
        (servers.folder / folder).mkdir()
        written = shown_command(PAGE, "openssl").replace("deployments/cluster/tls", folder)
        subprocess.run(shlex.split(written), cwd=servers.folder, check=True, capture_output=True)
    with servers.started("scheduler"):
        servers.wait_for("health", "/health")
        own = servers.environment("runs")
        with servers.started("worker"):
            log = servers.folder / "worker.log"
            at = re.compile(r"worker \S+ at (tls://127\.0\.0\.1:\d+)")
            wait_until(lambda: at.search(log.read_text()), "the worker")
            (worker,) = at.findall(log.read_text())
            connected = _connect(own)
            assert connected.stdout.split() == [own["MILLSTREAM_RUNNER"], worker], connected.stderr
        other = str(servers.folder / "other")
        foreign = {key: own[key].replace(str(servers.folder / "tls"), other) for key in own}
        assert _connect(foreign).returncode != 0
        plain = own["MILLSTREAM_RUNNER"].replace("tls", "tcp")
        assert _connect(own | {"MILLSTREAM_RUNNER": plain}).returncode != 0


def _connect(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CONNECT, environment["MILLSTREAM_RUNNER"]],
        env=environment,
        capture_output=True,
        text=True,
    )
