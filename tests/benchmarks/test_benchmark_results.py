"""Targets, tables and plots of a benchmark come from its results alone."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.machine import describe
from benchmarks.measured import (
    Budgets,
    CascadeRace,
    Cores,
    FlowRound,
    FlowRun,
    Gate,
    GrowthRound,
    Race,
    Results,
    RouteRace,
    ServingRound,
)
from benchmarks.peers import ORDERED_F32
from benchmarks.plan import WHOLE
from benchmarks.plots import write_plots
from benchmarks.report import write_report
from benchmarks.tables import shown
from benchmarks.targets import share_of_peak, targets

MAIN, PYFUNC = "engine openvino bf16", "registered pyfunc, auto"


def flow_run(rows: int, shards: float | None, **fields: float) -> FlowRun:
    times: dict[str, Any] = {
        "imports": 3.0,
        "server_start": 4.0,
        "model_load": 1.0,
        "flow": (shards or 0.0) + 2.0,
        "exit": 1.0,
        "peak_mib": 900.0,
    }
    counts = {"rows_done": rows, "model_calls": rows, "cache_hits": 0}
    return FlowRun(rows=rows, shards=shards, **counts, **times | fields)


def race(**fields: Any) -> Race:
    values: dict[str, Any] = {
        "kind": "imdb",
        "max_tokens": 256,
        "rows": 100,
        "tokens": 20_000,
        "model_flops": 500_000_000_000,
        "executed_flops": 400_000_000_000,
        "families": {
            "slow": "original",
            "pipeline": "transformers",
            ORDERED_F32: "torch",
            MAIN: "engine",
            "engine openvino int8": "engine",
            PYFUNC: "pyfunc",
        },
        "main": MAIN,
        "main_pyfunc": PYFUNC,
        "rounds": [
            {
                "slow": 8.0,
                "pipeline": 6.0,
                ORDERED_F32: 5.0,
                MAIN: 2.0,
                "engine openvino int8": 1.0,
                PYFUNC: 2.5,
            }
        ],
        "labels_differing": {
            "slow": 0,
            "pipeline": 0,
            ORDERED_F32: 0,
            MAIN: 1,
            "engine openvino int8": 2,
            PYFUNC: 1,
        },
        "skipped": {"engine torch bf16": "no bf16 instructions here"},
    }
    return Race.model_validate(values | fields)


def cascade(**fields: Any) -> CascadeRace:
    speeds = {"quick": 5_000.0, "film": 800.0}
    accuracies = {"quick": 0.75, "film": 0.8}
    shares = {"quick": 0.6, "film": 0.4}
    members = {
        name: {
            "accuracy": accuracies[name],
            "share": shares[name],
            "rows_per_second": speeds[name],
        }
        for name in speeds
    }
    values: dict[str, Any] = {
        "kind": "snippets",
        "max_tokens": 128,
        "refused": "",
        "check": {
            "rows": 400,
            "accuracy": 0.81,
            "agreement": 0.9,
            "rows_per_second": 1_900.0,
            "members": members,
        },
        "engine": "openvino int8",
        "rows": 800,
        "threshold": 0.71,
        "rounds": [{"quick": 0.2, "film": 1.0, WHOLE: 0.4}],
    }
    return CascadeRace.model_validate(values | fields)


@pytest.fixture(scope="module")
def results() -> Results:
    small, large = flow_run(100, 1.0), flow_run(1_000, 11.0, peak_mib=1_200.0)
    largest = flow_run(2_000, 20.0, peak_mib=1_000.0)
    warm, resumed = flow_run(1_000, 0.05), flow_run(1_000, None)
    milliseconds = tuple(float(number) for number in range(1, 101))
    return Results(
        machine=describe(),
        device="cpu",
        quick=False,
        seconds=90.0,
        gates=(Gate(engine="openvino", precision="bf16", rows=2_000, agreement=0.999),),
        peak_gflops=(250.0, 400.0, 300.0),
        races=(race(),),
        flow=(FlowRound(engine=0.9, cold=small, warm=warm, resumed=resumed),),
        growth=(GrowthRound(cold=(small, large, largest), warm=warm, resumed=resumed),),
        cores=Cores(rows=100, rounds=({"1": 3.0, "2": 2.0},)),
        serving=(
            ServingRound(
                nothing=milliseconds,
                cached=tuple(value + 5 for value in milliseconds),
                computed=tuple(value + 15 for value in milliseconds),
                engine_in_turns=(20.0,) * 100,
                engine=(10.0,) * 100,
            ),
        ),
        budgets=(Budgets(kind="imdb", rows=100, rows_per_second={MAIN: {256: 40.0, 512: 50.0}}),),
        cascades=(cascade(),),
        routes=(RouteRace(rows=100, member="model", rounds=({"model": 0.8, WHOLE: 1.0},)),),
    )


def seen(results: Results) -> dict[str, tuple[float | None, bool | None]]:
    return {target.name: (target.seen, target.met) for target in targets(results)}


def test_targets_are_judged_from_the_results(results: Results) -> None:
    # 100 rows in 2 s at 5 GFLOP a row are 250 GFLOP/s, of the best sample: 400.
    assert list(seen(results).values()) == [
        (0.625, False),
        (0.5, False),
        (2.5, True),
        (3.0, True),
        (2.0, True),
        (0.8, False),
        (0.9, True),
        (20_000.0, True),
        (3.0, True),
        (pytest.approx(1.1), True),
        (pytest.approx(1_200 / 900), False),
        (1.5, False),
        (pytest.approx(5.0), False),
        (1.5, True),
        (2.5, True),
        (pytest.approx(1.0), True),
    ]


def test_few_rows_that_take_longer_a_row_than_many_miss_the_target_as_well(
    results: Results,
) -> None:
    (turn,) = results.growth
    slow = turn.model_copy(update={"cold": (flow_run(100, 1.3), *turn.cold[1:])})
    found = seen(results.model_copy(update={"growth": (slow,)}))
    spread, met = found["growth: time a row, the largest over the smallest"]
    assert spread == pytest.approx(1.3)
    assert met is False


def test_what_was_not_measured_is_neither_met_nor_missed(results: Results) -> None:
    empty = Results(machine=results.machine, device="cpu", quick=True, races=(race(rounds=[]),))
    assert set(seen(empty).values()) == {(None, None)}


def test_a_share_of_the_peak_needs_a_peak() -> None:
    assert share_of_peak(race(), MAIN, None, executed=False) is None
    assert share_of_peak(race(), MAIN, 500.0, executed=True) == pytest.approx(0.4)


def test_tables_and_plots_are_made_of_what_was_written(results: Results, tmp_path: Path) -> None:
    results.write(tmp_path)
    read = Results.read(tmp_path)
    assert read == results
    write_report(read, tmp_path)
    write_plots(read, tmp_path)
    report = (tmp_path / "results.md").read_text()
    assert f"| imdb: {MAIN}, over torch f32 ordered by length | ≥ 2.3× | 2.50× | yes |" in report
    assert "| ≥ 75 % | 62.5 % | **no** |" in report
    assert f"| {MAIN} | 50 | 20 | 2.50 | 1 | 1 | 62.5 % | 50.0 % |" in report
    assert "| pipeline | 16.7 | 60.0 | 0.83 | 0.33 | 0 | 20.8 % | 20.8 % |" in report
    assert "| the static model alone | 4,000 | 5 | 60.0 % | 75.0 % | 5,000 |" in report
    assert "| the transformer alone, openvino int8 | 800 | 1 | 40.0 % | 80.0 % | 800 |" in report
    assert "| the whole | 2,000 | 2.50 | – | 81.0 % | 1,900 |" in report
    assert "`least: auto` chose 0.71." in report
    assert "| 100 | 125 | 100 | 0.80 |" in report
    assert "engine torch bf16 did not run: no bf16 instructions here." in report
    assert "400 GFLOP/s (250 to 400 GFLOP/s in 3 samples)" in report
    pictures = sorted(path.name for path in tmp_path.glob("*.svg"))
    assert pictures == ["budgets.svg", "growth.svg", "latency.svg", "rows_per_second.svg"]
    for row in report.splitlines():
        assert row.count("|") != 1


def test_a_part_that_did_not_run_has_no_table_and_no_plot(results: Results, tmp_path: Path) -> None:
    empty = Results(machine=results.machine, device="cpu", quick=True)
    write_report(empty, tmp_path)
    write_plots(empty, tmp_path)
    report = (tmp_path / "results.md").read_text()
    assert "its figures mean nothing" in report
    assert "## The whole flow" not in report
    assert list(tmp_path.glob("*.svg")) == []


def test_a_cascade_that_the_build_refuses_costs_no_other_part(
    results: Results, tmp_path: Path
) -> None:
    refused = cascade(refused="accuracy 0.7", check=None, rows=0, rounds=[])
    found = results.model_copy(update={"cascades": (refused,)})
    found.write(tmp_path)
    assert Results.read(tmp_path) == found
    write_report(found, tmp_path)
    assert "The build refused it: accuracy 0.7." in (tmp_path / "results.md").read_text()
    assert seen(found)["snippets: cascade, over the transformer alone"] == (None, None)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (None, "s", "–"),
        (0.8235, "%", "82.3 %"),
        (2.345, "×", "2.35×"),
        (12_345.6, "rows/s", "12,346 rows/s"),
        (12.34, "ms", "12.3 ms"),
        (1.5, "", "1.50"),
        (160, "", "160"),
        (40.0, "", "40"),
    ],
)
def test_figures_have_the_digits_they_deserve(
    value: float | None, unit: str, expected: str
) -> None:
    assert shown(value, unit) == expected
