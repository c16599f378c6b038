"""A Dask cluster for tests: scheduler, workers and drivers as processes with homes of their own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tasks.common.settings import REPOSITORY
from tests.support.operation import Operation, free_ports
from tests.support.scoring_command import Running, Scoring, wait_until

_OURS = ("PREFECT", "MLFLOW", "MILLSTREAM", "DASK")


@dataclass
class Cluster:
    """A scheduler, and the workers that a test starts.

    Attributes:
        folder: What the homes and logs of the processes are in.
        address: Of the scheduler.
        operation: Prefect's and MLflow's servers.
        variables: Environment variables of all processes, as for TLS.
    """

    folder: Path
    address: str
    operation: Operation
    variables: Mapping[str, str] = field(default_factory=dict)
    workers: dict[str, Running] = field(default_factory=dict)
    schedulers: list[Running] = field(default_factory=list)

    @property
    def mlflow_url(self) -> str:
        return f"http://127.0.0.1:{self.operation.mlflow_port}"

    def start_scheduler(self) -> None:
        """Start the scheduler, and wait until it listens."""
        protocol, _, place = self.address.partition("://")
        host, _, port = place.partition(":")
        command = (sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard")
        options = ("--host", host, "--port", port, "--protocol", protocol)
        # Prefect, which it imports with the tasks, makes its home.
        variables = {"MILLSTREAM_HOME": str(self.folder), **self.variables}
        scheduler = start((*command, *options), self.folder, variables)
        self.schedulers.append(scheduler)
        wait_until(lambda: scheduler.is_over or "Scheduler at" in scheduler.said, "scheduler")
        assert not scheduler.is_over, scheduler.said

    def start_worker(
        self,
        name: str,
        *,
        wrapper: tuple[str, ...] = (),
        repository: Path = REPOSITORY,
        **variables: str,
    ) -> Running:
        """Start a worker with a home of its own, and wait until the scheduler has it.

        Args:
            name: Its name.
            wrapper: Prefix of the command line.
            repository: Whose code it runs.
            variables: Environment variables.
        """
        command = (sys.executable, "-m", "deployments.cluster_worker", self.address)
        options = ("--name", name, "--threads", "1")
        home = self.folder / f"home-{name}"
        home.mkdir(exist_ok=True)
        environment = {**self.variables, "MILLSTREAM_HOME": str(home), **variables}
        worker = start((*wrapper, *command, *options), home, environment, repository)
        self.workers[name] = worker
        wait_until(lambda: worker.is_over or f"worker {name} at" in worker.said, f"worker {name}")
        assert not worker.is_over, worker.said
        return worker

    def scoring(self, inputs: Path, output: Path, *options: str, **variables: str) -> Scoring:
        """Return a command that scores with the workers, in a home of its own."""
        home = self.folder / "home-driver"
        home.mkdir(exist_ok=True)
        environment = {
            **self.variables,
            "MLFLOW_TRACKING_URI": self.mlflow_url,
            "MILLSTREAM_RUNNER": self.address,
        }
        return Scoring(
            home,
            (inputs,),
            output,
            api_url=self.operation.api,
            options=options,
            environment=environment | variables,
        )


def start(
    command: tuple[str, ...],
    home: Path,
    variables: Mapping[str, str],
    repository: Path = REPOSITORY,
) -> Running:
    """Start a process with none of our variables but these, in a session of its own."""
    log = home / f"said-{time.monotonic_ns()}.log"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(_OURS)
    } | {"MILLSTREAM_PROJECT": os.devnull, "OMP_NUM_THREADS": "1", **variables}
    with log.open("wb") as said:
        process = subprocess.Popen(
            command,
            cwd=repository,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    return Running(process, log)


@contextmanager
def running_cluster(
    folder: Path, operation: Operation, *, protocol: str = "tcp", **variables: str
) -> Iterator[Cluster]:
    """Run a scheduler on this machine, and at the end kill it and the workers that joined.

    Args:
        folder: A new folder for logs and homes.
        operation: Prefect's and MLflow's servers.
        protocol: `tcp` or `tls`.
        variables: Environment variables of all processes.
    """
    folder.mkdir()
    (port,) = free_ports(1)
    address = f"{protocol}://127.0.0.1:{port}"
    cluster = Cluster(folder, address, operation, variables)
    try:
        cluster.start_scheduler()
        yield cluster
    finally:
        for process in (*cluster.workers.values(), *cluster.schedulers):
            process.kill()
