"""The servers of `deployments/cluster`, started as its compose file says, but on loopback.

MLflow and Prefect on PostgreSQL, artifacts on an S3 server, and the scheduler of Dask with TLS.
"""

import re
import shlex
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import mlflow
import psycopg
import pytest

from tasks.common.settings import REPOSITORY
from tests.support.cluster_files import shown_command
from tests.support.cluster_servers import Servers, make_databases, s3_client
from tests.support.postgres import PASSWORD, Postgres
from tests.support.scoring_command import wait_until

PAGE = REPOSITORY / "docs" / "cluster_files.md"

CONNECT = """
import sys
from distributed import Client
with Client(sys.argv[1], timeout=10) as client:
    print(client.scheduler_info()["address"], *client.nthreads())
"""


@pytest.fixture
def servers(tmp_path: Path, postgres: Postgres) -> Servers:
    return Servers(tmp_path, postgres)


def test_mlflow_keeps_runs_in_postgresql_and_artifacts_on_s3(
    servers: Servers, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_databases(postgres)
    with ExitStack() as stack:
        listening = ("-H", "127.0.0.1", "-p", servers.ports["s3"])
        stack.enter_context(servers.started("s3", "-m", "moto.server", *listening))
        servers.wait_for("s3", "/moto-api/")
        bucket = s3_client(servers)
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


def test_prefect_answers_the_parts_by_its_name_and_uses_postgresql(
    servers: Servers, postgres: Postgres
) -> None:
    make_databases(postgres)
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
