"""Prefect's and MLflow's servers by `make up`, and what they use."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.cluster.parts import REGISTRY, SERVER
from benchmarks.cluster.processes import cpu_of, environment_of, free_port
from deployments.services.definitions import MLFLOW, PREFECT
from deployments.services.processes import leftover_processes
from tasks.common.settings import REPOSITORY, Settings

_ASK_TIMEOUT_S = 60
_IDLE = 0.1  # of a core
_IDLE_TIMEOUT_S = 120


@dataclass(frozen=True)
class Servers:
    """The servers of `make up`.

    Attributes:
        settings: Of their state folder.
        api: The address of Prefect's API.
        mlflow_url: That of MLflow.
    """

    settings: Settings
    api: str
    mlflow_url: str

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds of each server so far."""
        services = {SERVER: PREFECT, REGISTRY: MLFLOW}
        return {
            part: sum(map(cpu_of, leftover_processes(self.settings, service)))
            for part, service in services.items()
        }

    def wait_until_idle(self) -> None:
        """Wait until the servers have done what the last run gave them."""
        deadline, before = time.monotonic() + _IDLE_TIMEOUT_S, sum(self.cpu_s().values())
        while time.monotonic() < deadline:
            time.sleep(2)
            now = sum(self.cpu_s().values())
            if now - before < 2 * _IDLE:
                return
            before = now

    def task_runs(self, name: str = "") -> int:
        """Return how many task runs there are whose names have a part."""
        body = {"task_runs": {"name": {"like_": name}}} if name else {}
        answer = httpx.post(f"{self.api}/task_runs/count", json=body, timeout=_ASK_TIMEOUT_S)
        return int(answer.raise_for_status().json())

    def database_bytes(self) -> int:
        """Return the size of Prefect's database, with what its write-ahead log has."""
        path = self.settings.prefect_home / "prefect.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            pages, size = (
                database.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "page_size")
            )
        return int(pages * size)


@contextmanager
def running_servers(home: Path) -> Iterator[Servers]:
    """Run `make up` for the block, and `make down` at its end.

    Args:
        home: The state folder, with a champion.

    Raises:
        subprocess.CalledProcessError: If a server does not start; the log beside the folder says
            why.
    """
    prefect_port, mlflow_port = free_port(), free_port()
    ports = {"PREFECT_PORT": str(prefect_port), "MLFLOW_PORT": str(mlflow_port)}
    variables = {"MILLSTREAM_HOME": str(home), "SERVE": "0", **ports}
    log = home.with_suffix(".log")
    try:
        _run("deployments.up", variables, log)
        yield Servers(
            settings=Settings().model_copy(update={"home": home}),
            api=f"http://127.0.0.1:{prefect_port}/api",
            mlflow_url=f"http://127.0.0.1:{mlflow_port}",
        )
    finally:
        _run("deployments.down", variables, log)


def _run(module: str, variables: Mapping[str, str], log: Path) -> None:
    with log.open("ab") as output:
        subprocess.run(
            [sys.executable, "-m", module],
            cwd=REPOSITORY,
            env=environment_of(variables),
            stdout=output,
            stderr=output,
            check=True,
        )
