"""Targets, tables and plot of served models under load come from what was measured alone."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.machine import describe
from benchmarks.measured import Results
from benchmarks.plots import write_plots
from benchmarks.report import write_report
from benchmarks.serving.measured import ClosedLoop, Comparison, Load, OpenLoop
from benchmarks.serving.names import BEFORE, CLASSIFY, LITSERVE, MLFLOW
from benchmarks.serving.targets import served_targets


def load(per_second: float, p50: float = 20.0, **fields: Any) -> Load:
    values = {
        "seconds": 10.0,
        "outcomes": {"200": round(10 * per_second)},
        "p50": p50,
        "p99": 3 * p50,
        "p999": 4 * p50,
        "slowest": 5 * p50,
        "cpu_seconds": 1.0,
        "connections": 8,
    }
    return Load.model_validate(values | fields)


def comparison(**fields: Any) -> Comparison:
    # The machine is twice as fast in the second round.
    one = ({BEFORE: load(60, 15), CLASSIFY: load(120, 7.5)}, {BEFORE: load(60), CLASSIFY: load(50)})
    eight = (
        {BEFORE: load(100), CLASSIFY: load(300)},
        {BEFORE: load(200), CLASSIFY: load(800)},
    )
    repeated = (
        {BEFORE: load(150), CLASSIFY: load(1_500)},
        {BEFORE: load(300), CLASSIFY: load(1_500)},
    )
    values: dict[str, Any] = {
        "kind": "snippets",
        "max_tokens": 128,
        "engine": "openvino f32",
        "cores": 2,
        "servers": (BEFORE, CLASSIFY),
        "skipped": {LITSERVE: "it is not installed"},
        "differing": {BEFORE: 0, CLASSIFY: 0},
        "asked": 50,
        "alone": (400.0, 800.0),
        "closed": (
            ClosedLoop(texts="distinct", clients=1, rounds=one),
            ClosedLoop(texts="distinct", clients=8, rounds=eight),
            ClosedLoop(texts="repeated", clients=8, rounds=repeated),
        ),
        "open": (
            OpenLoop(server=CLASSIFY, share=0.5, load=load(150, 10, rate=150.0, lateness=0.4)),
            OpenLoop(
                server=CLASSIFY,
                share=0.75,
                load=load(
                    225, 40, rate=230.0, lateness=0.6, waited=7, outcomes={"200": 2_250, "503": 50}
                ),
            ),
        ),
        "repeated": 200,
    }
    return Comparison.model_validate(values | fields)


def seen(*comparisons: Comparison) -> list[tuple[float, float | None, bool | None]]:
    return [(target.bound, target.seen, target.met) for target in served_targets(comparisons)]


def report_of(folder: Path, *comparisons: Comparison) -> str:
    results = Results(machine=describe(), device="cpu", quick=False, served=comparisons)
    results.write(folder)
    assert Results.read(folder) == results
    write_report(results, folder)
    write_plots(results, folder)
    return (folder / "results.md").read_text()


def test_targets_are_ratios_within_rounds() -> None:
    assert seen(comparison()) == [
        (2.5, 3.5, True),
        (0.7, 0.875, True),
        (100.0, 120.0, False),
        (0.0, 50.0, False),
        (1.0, 1.5, True),
        (8.0, 7.5, False),
    ]


def test_more_is_expected_of_a_faster_precision() -> None:
    assert seen(comparison(engine="openvino int8"))[0] == (4.0, 3.5, False)


def test_there_are_no_targets_for_reviews() -> None:
    assert seen(comparison(kind="imdb")) == []


def test_without_the_server_before_its_targets_are_neither_met_nor_missed() -> None:
    alone = [
        loop.model_copy(update={"rounds": tuple({CLASSIFY: t[CLASSIFY]} for t in loop.rounds)})
        for loop in comparison().closed
    ]
    found = seen(comparison(closed=tuple(alone), open=(), servers=(CLASSIFY,)))
    assert [target[1:] for target in found] == [
        (None, None),
        (0.875, True),
        *[(None, None)] * 4,
    ]


def test_tables_tell_what_servers_did_and_what_the_generator_took(tmp_path: Path) -> None:
    report = report_of(tmp_path, comparison())
    assert "## Servers under load: snippets, at most 128 tokens, openvino f32" in report
    assert f"| {CLASSIFY} | 8 | 550 | 3.50 | 87.5 % | 20 | 60 | 80 | 100 | 0 | 0.10 |" in report
    assert f"| {CLASSIFY} | 8 | 1,500 | 7.50 | – | 20 | 60 | 80 | 100 | 0 | 0.10 |" in report
    row = f"| {CLASSIFY} | 75 % | 230 | 225 | 40 | 120 | 160 | 200 | 50 | 0.60 | 8 | 0.10 |"
    assert row in report
    assert "≥ 2.5× | 3.50× | yes |" in report
    assert "7 requests waited for a connection" in report
    assert "All servers gave its labels to 50 other texts." in report
    assert (tmp_path / "load.svg").is_file()
    for line in report.splitlines():
        assert line.count("|") != 1


def test_report_says_what_was_not_measured(tmp_path: Path) -> None:
    report = report_of(tmp_path, comparison())
    assert f"{LITSERVE} did not run: it is not installed." in report
    assert f"Not measured here: {MLFLOW}; millstream, /invocations; transformers" in report
    assert f"Not measured under an open loop: {BEFORE}." in report
    missing = "snippets in a faster precision; imdb in f32; imdb in a faster precision."
    assert f"Not measured under load: {missing}" in report


def test_labels_that_differ_are_told(tmp_path: Path) -> None:
    report = report_of(tmp_path, comparison(differing={BEFORE: 0, CLASSIFY: 2}))
    assert f"differ from its own: {CLASSIFY}: 2." in report


def test_a_server_that_answers_nothing_has_no_latency(tmp_path: Path) -> None:
    none: dict[str, Any] = {
        "outcomes": {"timeout": 8},
        "p50": None,
        "p99": None,
        "p999": None,
        "slowest": None,
    }
    dead = load(0).model_copy(update=none)
    rounds = tuple({BEFORE: dead, CLASSIFY: load(10)} for _ in range(2))
    found = comparison(
        closed=tuple(loop.model_copy(update={"rounds": rounds}) for loop in comparison().closed),
        open=(OpenLoop(server=BEFORE, share=0.5, load=dead.model_copy(update={"rate": 5.0})),),
    )
    report = report_of(tmp_path, found)
    assert f"| {BEFORE} | 8 | 0 | – | 0.0 % | – | – | – | – | 16 | 0.10 |" in report
    assert seen(found)[0] == (2.5, None, None)


@pytest.mark.parametrize("served", [(), (comparison(open=()),)])
def test_without_open_loops_there_is_no_plot(
    served: tuple[Comparison, ...], tmp_path: Path
) -> None:
    report = report_of(tmp_path, *served)
    assert not (tmp_path / "load.svg").exists()
    assert ("## Servers under load" in report) == bool(served)
