"""A scheduler, its workers and drivers, and the CPU seconds of each."""

import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.cluster.parts import SCHEDULER, WORKERS
from benchmarks.cluster.processes import cpu_with_children, end, free_port, start, wait_until_said
from benchmarks.cluster.servers import Servers


@dataclass(frozen=True)
class Driven:
    """A run of the command.

    Attributes:
        wall_s: Its seconds.
        cpu_s: Its CPU seconds, with those of its child processes.
        summary: What its manifest says.
    """

    wall_s: float
    cpu_s: float
    summary: dict[str, Any]


@dataclass(frozen=True)
class Dask:
    """A scheduler, and workers of one thread each.

    Attributes:
        folder: Logs, and the state folders of driver and workers.
        address: Of the scheduler.
        scheduler: Its process.
        workers: The processes of the workers.
        servers: The servers that runs use.
    """

    folder: Path
    address: str
    scheduler: psutil.Popen
    workers: Sequence[psutil.Popen]
    servers: Servers

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds of scheduler and workers so far."""
        return {SCHEDULER: cpu_with_children(self.scheduler)} | {
            WORKERS: sum(map(cpu_with_children, self.workers))
        }

    def score(self, inputs: Path, output: Path, *options: str) -> Driven:
        """Score files on the workers.

        Raises:
            RuntimeError: If the run fails; its log says why.
        """
        home = self.folder / "driver"
        variables = {
            "MILLSTREAM_HOME": str(home),
            "MLFLOW_TRACKING_URI": self.servers.mlflow_url,
            "PREFECT_API_URL": self.servers.api,
            "MILLSTREAM_RUNNER": self.address,
        }
        places = ("--inputs", str(inputs), "--output-dir", str(output))
        command = ("-m", "flows.score_shards", *places, *options)
        began = time.perf_counter()
        process = start(command, home, variables)
        # Of this process and those that it waited for; psutil knows only live ones.
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
        if code := os.waitstatus_to_exitcode(status):
            raise RuntimeError(f"score_shards: exit code {code}; expected 0; see {home / 'log'}")
        manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
        return Driven(wall_s, usage.ru_utime + usage.ru_stime, manifest["summary"])


@contextmanager
def running_dask(folder: Path, servers: Servers, workers: int) -> Iterator[Dask]:
    """Run a scheduler and workers with new state folders for the block.

    Args:
        folder: For logs and state folders; what is in it is removed.
        servers: Prefect's and MLflow's servers.
        workers: How many.

    Raises:
        RuntimeError: If one of them does not start; its log says why.
    """
    shutil.rmtree(folder, ignore_errors=True)
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    started: list[psutil.Popen] = []

    def begin(name: str, said: str, *command: str) -> psutil.Popen:
        home = folder / name
        process = start(("-m", *command), home, {"MILLSTREAM_HOME": str(home)})
        started.append(process)
        wait_until_said(process, home / "log", said)
        return process

    place = ("--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    try:
        scheduler = begin("scheduler", "Scheduler at", "distributed.cli.dask_scheduler", *place)
        for number in range(workers):
            name = f"worker-{number}"
            options = (address, "--name", name, "--threads", "1")
            begin(name, f"worker {name} at", "deployments.cluster_worker", *options)
        yield Dask(folder, address, scheduler, started[1:], servers)
    finally:
        for process in reversed(started):
            end(process)
