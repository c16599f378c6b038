"""Costs of each part, fitted from runs with one worker."""

from dataclasses import dataclass, replace
from statistics import mean

from benchmarks.cluster.measured import Measured
from benchmarks.cluster.parts import (
    DRIVER,
    REGISTRY,
    SCHEDULER,
    SERVER,
    WORKERS,
    Costs,
    one_machine,
)
from benchmarks.cluster.simulation import simulate

_TOO_SLOW = 1.1  # a simulation that takes so many times as long as the run; less is noise


@dataclass(frozen=True)
class Steps:
    """Steps of the driver that are timed alone.

    Attributes:
        survey_row: CPU seconds of a survey a row.
        stage_row: CPU seconds to read a row again and to stage it.
        publish_shard: CPU seconds to publish a shard.
    """

    survey_row: float
    stage_row: float
    publish_shard: float


@dataclass(frozen=True)
class FittedRuns:
    """Runs with one worker.

    Attributes:
        empty: One row.
        fine: Many rows in small shards.
        coarse: The same rows in large shards.
        small: Many files of one row.
    """

    empty: Measured
    fine: Measured
    coarse: Measured
    small: Measured

    def a_task(self, part: str) -> float:
        """Return the CPU seconds of a part a task: what smaller shards add."""
        added = self.fine.cpu_s[part] - self.coarse.cpu_s[part]
        return max(0.0, added / (self.fine.tasks - self.coarse.tasks))

    def a_row(self, part: str) -> float:
        """Return the CPU seconds of a part a row: what more rows add, without their tasks."""
        tasks = (self.coarse.tasks - self.empty.tasks) * self.a_task(part)
        added = self.coarse.cpu_s[part] - self.empty.cpu_s[part] - tasks
        return max(0.0, added / (self.coarse.all_rows - self.empty.all_rows))

    def a_run(self, part: str) -> float:
        """Return the CPU seconds of a part a run."""
        return max(0.0, self.empty.cpu_s[part] - self.empty.tasks * self.a_task(part))


def fit(runs: FittedRuns, steps: Steps, cores: int, streams: int = 1) -> Costs:
    """Return the costs with which the simulation has the CPU seconds of the runs.

    Args:
        runs: The runs.
        steps: What is known of single steps.
        cores: The cores that all processes shared.
        streams: Those that a worker used for a task.
    """
    # The registry is asked once by the driver, and once by the worker.
    costs = Costs(
        driver_run=runs.a_run(DRIVER),
        driver_survey_row=steps.survey_row,
        driver_row=steps.stage_row,
        driver_task=max(0.0, runs.a_task(DRIVER) - steps.publish_shard),
        driver_shard=steps.publish_shard,
        scheduler_run=runs.a_run(SCHEDULER),
        scheduler_task=runs.a_task(SCHEDULER),
        server_run=runs.a_run(SERVER),
        server_task=runs.a_task(SERVER),
        registry_load=runs.empty.cpu_s[REGISTRY] / 2,
        worker_load=runs.a_run(WORKERS),
        worker_task=runs.a_task(WORKERS),
        worker_row=runs.a_row(WORKERS),
    )
    costs = replace(costs, driver_file=_a_file(runs.small, costs))
    waits = [_waiting(run, costs, cores, streams) for run in (runs.fine, runs.coarse)]
    return replace(costs, waiting_run=max(0.0, mean(waits)))


def fit_streams(runs: FittedRuns, steps: Steps, cores: int) -> int:
    """Return how many cores the worker used for a task: several, if one is too slow for the runs.

    Args:
        runs: The runs.
        steps: What is known of single steps.
        cores: The cores that all processes shared.
    """
    for streams in range(1, cores):
        costs = fit(runs, steps, cores, streams)
        simulated = simulate(costs, one_machine(cores, 1, streams=streams), runs.coarse.work)
        if simulated.wall_s <= _TOO_SLOW * runs.coarse.wall_s:
            return streams
    return cores


def _a_file(small: Measured, costs: Costs) -> float:
    """Return the CPU seconds of the driver a file, of which each is a shard."""
    shards = small.files * costs.driver_shard
    rows = small.all_rows * (costs.driver_survey_row + costs.driver_row)
    known = costs.driver_run + small.tasks * costs.driver_task + shards + rows
    return max(0.0, (small.cpu_s[DRIVER] - known) / small.files)


def _waiting(run: Measured, costs: Costs, cores: int, streams: int) -> float:
    cluster = one_machine(cores, run.workers, streams=streams)
    return run.wall_s - simulate(costs, cluster, run.work).wall_s
