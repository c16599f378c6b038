"""Costs that are fitted from runs are those by which the runs were made."""

from dataclasses import astuple, replace

import pytest

from benchmarks.cluster.fit import FittedRuns, Steps, fit, fit_streams
from benchmarks.cluster.measured import Measured, orchestration_of_a_shard
from benchmarks.cluster.parts import SCHEDULER, Costs, Work, one_machine
from benchmarks.cluster.simulation import simulate

CORES = 2

COSTS = Costs(
    driver_run=9.0,
    driver_file=0.03,
    driver_survey_row=0.000_02,
    driver_row=0.000_05,
    driver_task=0.04,
    driver_shard=0.01,
    scheduler_run=4.0,
    scheduler_task=0.02,
    server_run=2.0,
    server_task=0.05,
    registry_load=0.3,
    worker_load=3.0,
    worker_task=0.2,
    worker_row=0.001,
    waiting_run=6.0,
)


def run_of(costs: Costs, work: Work, workers: int = 1, streams: int = 1) -> Measured:
    """Return what a run would measure that the simulation describes exactly."""
    simulated = simulate(costs, one_machine(CORES, workers, streams=streams), work)
    return Measured(
        workers=workers,
        files=work.files,
        rows=work.rows,
        shard_rows=work.shard_rows,
        tasks=simulated.tasks,
        task_runs=simulated.tasks + 10,
        cached=0,
        wall_s=simulated.wall_s,
        cpu_s=simulated.cpu_s,
    )


def runs_of(costs: Costs, streams: int = 1) -> FittedRuns:
    return FittedRuns(
        empty=run_of(costs, Work(1, 1, 2_000), streams=streams),
        fine=run_of(costs, Work(1, 20_000, 200), streams=streams),
        coarse=run_of(costs, Work(1, 20_000, 2_000), streams=streams),
        small=run_of(costs, Work(1_000, 1, 2_000), streams=streams),
    )


def steps_of(costs: Costs) -> Steps:
    return Steps(costs.driver_survey_row, costs.driver_row, costs.driver_shard)


@pytest.mark.parametrize("streams", [1, 2])
def test_costs_are_found_again(streams: int) -> None:
    fitted = fit(runs_of(COSTS, streams), steps_of(COSTS), CORES, streams)
    # A run of one file has the cost of that file among those of the run.
    expected = replace(COSTS, driver_run=COSTS.driver_run + COSTS.driver_file)
    small = 1_000 * COSTS.driver_file - COSTS.driver_file
    expected = replace(expected, driver_file=small / 1_000)
    assert astuple(fitted) == pytest.approx(astuple(expected), rel=0.01, abs=1e-6)


@pytest.mark.parametrize("streams", [1, 2])
def test_a_run_that_is_too_fast_for_one_core_used_two(streams: int) -> None:
    busy = replace(COSTS, worker_row=0.01, waiting_run=2.0)
    assert fit_streams(runs_of(busy, streams), steps_of(busy), CORES) == streams


def test_no_cost_is_negative() -> None:
    free = fit(runs_of(Costs(worker_row=0.001)), Steps(1.0, 1.0, 1.0), CORES)
    assert min(astuple(free)) == 0.0


def test_orchestration_is_what_does_not_read_or_score_rows() -> None:
    fixed = COSTS.driver_task + COSTS.driver_shard + COSTS.scheduler_task
    fixed += COSTS.server_task + COSTS.worker_task
    reading, scoring = 2_000 * 0.000_07, 2_000 * 0.001
    of_all = fixed + reading + scoring
    found = orchestration_of_a_shard(COSTS, 2_000, with_reading=False)
    assert found == pytest.approx(fixed / of_all)
    found = orchestration_of_a_shard(COSTS, 2_000, with_reading=True)
    assert found == pytest.approx((fixed + reading) / of_all)
    run = run_of(COSTS, Work(1, 20_000, 2_000))
    assert run.cpu_s[SCHEDULER] == pytest.approx(4.2)
    counted = sum(run.cpu_s[part] for part in ("driver", "scheduler", "server")) + 10 * 0.2
    assert run.orchestration(COSTS) == pytest.approx(counted / sum(run.cpu_s.values()))
