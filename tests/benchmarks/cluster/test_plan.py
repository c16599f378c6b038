"""Plans of nights, and the report of what was measured."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.cluster.fit import Steps, fit
from benchmarks.cluster.measured import PlanCosts, Predicted, Results, Sizes
from benchmarks.cluster.parts import Work
from benchmarks.cluster.plan import BUSY, NIGHT_S, plan
from benchmarks.cluster.report import write_report
from benchmarks.machine import describe
from tests.benchmarks.cluster.test_fit import CORES, COSTS, run_of, runs_of

# A driver that is slow gets few tasks, which are simulated soon.
SLOW = replace(COSTS, driver_row=0.002)

SIZES = Sizes(database_task_run=17_000, output_row=100, cache_row=300, model=90_000_000)


def test_a_small_night_needs_one_worker() -> None:
    night = plan(COSTS, rows=10**6, shard_rows=2_000)
    assert (night.drivers, night.machines, night.servers) == (1, 1, 1)
    assert night.tasks == 500
    assert night.run.wall_s < NIGHT_S


def test_drivers_and_workers_grow_with_the_rows_until_the_night_is_enough() -> None:
    night = plan(SLOW, rows=10**9, shard_rows=2_000)
    a_row = 0.002_02 + 0.05 / 2_000 + 0.03 / 10**6
    assert night.drivers == pytest.approx(10**9 * a_row / (BUSY * NIGHT_S), abs=1)
    assert night.drivers > 1
    assert night.machines >= 10**9 * (0.001 + 0.2 / 2_000) / (NIGHT_S * 8)
    assert night.run.wall_s <= NIGHT_S
    # All tasks go through Prefect's servers, which one could not do.
    assert night.servers >= 500_000 * 0.05 / NIGHT_S


def test_a_run_that_is_longer_than_the_night_is_refused() -> None:
    with pytest.raises(ValueError, match="driver_run: 90000"):
        plan(replace(COSTS, driver_run=90_000.0), 10**6, shard_rows=2_000)
    with pytest.raises(ValueError, match="loads and survey take 90,"):
        plan(replace(COSTS, worker_load=90_000.0), 10**6, shard_rows=2_000)


def test_larger_shards_need_fewer_drivers() -> None:
    fine, coarse = (plan(SLOW, 10**9, shard_rows) for shard_rows in (2_000, 200_000))
    assert coarse.drivers <= fine.drivers
    assert coarse.tasks * 100 == pytest.approx(fine.tasks, rel=0.05)


def results() -> Results:
    runs = runs_of(COSTS)
    costs = fit(runs, Steps(0.000_02, 0.000_05, 0.01), CORES)
    two = run_of(COSTS, Work(1, 20_000, 2_000), workers=2)
    predicted = Predicted(measured=two, wall_s=two.wall_s * 1.1, cpu_s=1.0, limit="driver")
    return Results(
        machine=describe(),
        model="static",
        fitted=PlanCosts(costs=costs, sizes=SIZES),
        empty=runs.empty,
        streams=1,
        predicted=(predicted,),
        small_files=runs.small,
        twice=(two, two.model_copy(update={"cached": 15_000})),
    )


def test_the_report_says_how_far_the_simulation_is_off(tmp_path: Path) -> None:
    found = results()
    write_report(found, tmp_path)
    assert Results.model_validate_json((tmp_path / "results.json").read_text()) == found
    assert PlanCosts.model_validate(json.loads((tmp_path / "costs.json").read_text()))
    text = (tmp_path / "results.md").read_text()
    assert "| 2, 2,000 | 10 |" in text
    assert "10.0 %" in text
    assert "| 15,000 of 20,000 | 75.0 % |" in text
    assert "| 1,000 | 10 | 20 |" in text
    assert "mean nothing" not in text


def test_the_report_of_a_quick_run_says_so(tmp_path: Path) -> None:
    write_report(results(), tmp_path, quick=True)
    assert "its figures mean nothing" in (tmp_path / "results.md").read_text()
