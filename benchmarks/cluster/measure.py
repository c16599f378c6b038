"""Runs on a real cluster of this machine: wall time, CPU seconds of each part, bytes."""

import json
import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import mlflow

from benchmarks.cluster.dask import Dask, running_dask
from benchmarks.cluster.fit import FittedRuns, Steps, fit, fit_streams
from benchmarks.cluster.measured import Measured, PlanCosts, Predicted, Results, Sizes
from benchmarks.cluster.model import write_rows
from benchmarks.cluster.parts import DRIVER, Cluster, Costs, Work, one_machine
from benchmarks.cluster.servers import Servers
from benchmarks.cluster.simulation import simulate
from benchmarks.cluster.steps import time_steps
from benchmarks.machine import describe
from tasks.tracking.names import CHAMPION, PIPELINE_MODEL

logger = logging.getLogger(__name__)

_NO_CACHE = "--no-use-cache"


@dataclass(frozen=True)
class Sizing:
    """How much is measured.

    Attributes:
        rows: Rows of the runs that costs are fitted from, and that are predicted.
        fine: Rows of a small shard.
        coarse: Rows of a large one.
        small_files: Files of one row.
        timed_rows: Rows of the file with which the driver's steps are timed alone.
        workers: Numbers of workers; the first is one.
    """

    rows: int = 20_000
    fine: int = 200
    coarse: int = 2_000
    small_files: int = 1_000
    timed_rows: int = 400_000
    workers: tuple[int, ...] = (1, 2, 4)


QUICK = Sizing(rows=1_000, fine=100, coarse=500, small_files=120, timed_rows=5_000, workers=(1, 2))


class Bench:
    """Runs and their measures, in a folder of their own.

    Args:
        folder: For inputs, outputs, logs and state folders.
        servers: Prefect's and MLflow's servers, with a champion.
        sizing: How much is measured.
    """

    def __init__(self, folder: Path, servers: Servers, sizing: Sizing) -> None:
        self._folder = folder
        self._servers = servers
        self._sizing = sizing
        self._outputs = 0

    def results(self, model: str) -> Results:
        """Measure all.

        Args:
            model: What the report calls the champion.
        """
        machine, model_bytes = describe(), self._model_bytes()
        # The first is thrown away: it finds servers that were never asked.
        _, empty = (self._alone(1, Work(1, 1, self._sizing.coarse)) for _ in range(2))
        before = self._servers.database_bytes()
        measured = self._by_workers()
        added = self._servers.database_bytes() - before
        output = self._newest_output()
        steps = self._steps(output)
        small = self._alone(1, Work(self._sizing.small_files, 1, self._sizing.coarse))
        runs = FittedRuns(empty=empty, fine=measured[0], coarse=measured[1], small=small)
        streams = fit_streams(runs, steps, machine.cores)
        costs = fit(runs, steps, machine.cores, streams)
        cluster = partial(one_machine, machine.cores, streams=streams)
        twice, cache_row = self._twice()
        sizes = Sizes(
            database_task_run=added / sum(run.task_runs for run in measured),
            output_row=_bytes_in(output) / self._sizing.rows,
            cache_row=cache_row,
            model=model_bytes,
        )
        return Results(
            machine=machine,
            model=f"{model}, {_engine_of(output)}",
            fitted=PlanCosts(costs=costs, sizes=sizes),
            empty=empty,
            streams=streams,
            predicted=tuple(_predicted(run, costs, cluster(run.workers)) for run in measured),
            small_files=small,
            twice=twice,
        )

    def _by_workers(self) -> list[Measured]:
        """Measure small and large shards with each number of workers, the fewest first."""
        return [
            self._alone(workers, Work(1, self._sizing.rows, shard_rows))
            for workers in self._sizing.workers
            for shard_rows in (self._sizing.fine, self._sizing.coarse)
        ]

    def _alone(self, workers: int, work: Work) -> Measured:
        """Measure a run on new workers without a cache."""
        with self._dask(workers) as dask:
            return self._run(dask, work, _NO_CACHE)

    def _twice(self) -> tuple[tuple[Measured, ...], float]:
        """Score the same rows twice with 1 and 2 workers; return also bytes of a cache a row."""
        work = Work(1, self._sizing.rows, self._sizing.coarse)
        found: list[Measured] = []
        size = 0.0
        for workers in (1, 2):
            with self._dask(workers) as dask:
                found += [self._run(dask, work), self._run(dask, work)]
                if workers == 1:
                    size = _bytes_in(dask.folder / "worker-0" / "prediction-cache") / work.rows
        return tuple(found), size

    def _dask(self, workers: int) -> AbstractContextManager[Dask]:
        return running_dask(self._folder / "dask", self._servers, workers)

    def _run(self, dask: Dask, work: Work, *options: str) -> Measured:
        """Score with a cluster, and wait until the servers are idle before and after."""
        self._outputs += 1
        servers = self._servers
        servers.wait_until_idle()
        before, runs = servers.cpu_s() | dask.cpu_s(), self._task_runs()
        driven = dask.score(
            self._inputs(work),
            self._newest_output(),
            *("--shard-rows", str(work.shard_rows), *options),
        )
        servers.wait_until_idle()
        after, runs_after = servers.cpu_s() | dask.cpu_s(), self._task_runs()
        cpu_s = {part: after[part] - before[part] for part in before} | {DRIVER: driven.cpu_s}
        measured = Measured(
            workers=len(dask.workers),
            files=work.files,
            rows=work.rows,
            shard_rows=work.shard_rows,
            tasks=runs_after[0] - runs[0],
            task_runs=runs_after[1] - runs[1],
            cached=driven.summary["model_calls_avoided"]["cache"],
            wall_s=driven.wall_s,
            cpu_s=cpu_s,
        )
        logger.info("%s", measured)
        return measured

    def _task_runs(self) -> tuple[int, int]:
        return self._servers.task_runs("score "), self._servers.task_runs()

    def _inputs(self, work: Work) -> Path:
        folder = self._folder / f"in-{work.files}-{work.rows}"
        return folder if folder.exists() else write_rows(folder, work.files, work.rows)

    def _newest_output(self) -> Path:
        return self._folder / f"out-{self._outputs}"

    def _steps(self, output: Path) -> Steps:
        sizing = self._sizing
        (inputs,) = self._inputs(Work(1, sizing.timed_rows, sizing.coarse)).iterdir()
        return time_steps(inputs, sizing.coarse, output, self._folder)

    def _model_bytes(self) -> int:
        """Return the size of what a process downloads to load the champion."""
        folder = self._folder / "model"
        folder.mkdir(exist_ok=True)
        # `tracking_uri` of the download is not that of the registry, which resolves the alias.
        mlflow.set_tracking_uri(self._servers.mlflow_url)
        champion = f"models:/{PIPELINE_MODEL}@{CHAMPION}"
        mlflow.artifacts.download_artifacts(artifact_uri=champion, dst_path=str(folder))
        return _bytes_in(folder)


def _predicted(measured: Measured, costs: Costs, cluster: Cluster) -> Predicted:
    simulated = simulate(costs, cluster, measured.work)
    return Predicted(
        measured=measured,
        wall_s=simulated.wall_s,
        cpu_s=sum(simulated.cpu_s.values()),
        limit=simulated.limit,
    )


def _engine_of(output: Path) -> str:
    manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
    return str(manifest["summary"]["engine"])


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
