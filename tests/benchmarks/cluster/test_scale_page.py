"""The figures of docs/scale.md are those of the reports in benchmarks/results."""

import subprocess
import sys
from collections.abc import Iterable, Sequence

import pytest

from benchmarks.cluster.measured import Results, orchestration_of_a_shard
from benchmarks.tables import shown
from tasks.common.settings import REPOSITORY

PAGE = (REPOSITORY / "docs" / "scale.md").read_text(encoding="utf-8")

COSTS = {
    "of a row, worker": "worker_row",
    "of a row, driver, to survey it": "driver_survey_row",
    "of a row, driver, to read it again and stage it": "driver_row",
    "of a task, driver": "driver_task",
    "of a task, Dask's scheduler": "scheduler_task",
    "of a task, Prefect's server": "server_task",
    "of a task, worker": "worker_task",
    "of a shard, driver, to publish it": "driver_shard",
    "of a file, driver": "driver_file",
    "of a run, driver": "driver_run",
    "to load the model, worker": "worker_load",
}
SHARDS = (200, 2_000, 20_000, 200_000)


@pytest.fixture(scope="module")
def static() -> Results:
    return read("cluster")


@pytest.fixture(scope="module")
def minilm() -> Results:
    return read("cluster/minilm")


def read(folder: str) -> Results:
    file = REPOSITORY / "benchmarks" / "results" / folder / "results.json"
    return Results.model_validate_json(file.read_bytes())


def test_the_costs_are_those_of_both_reports(static: Results, minilm: Results) -> None:
    of_both = [
        (name, *(in_ms(getattr(found.fitted.costs, cost)) for found in (static, minilm)))
        for name, cost in COSTS.items()
    ]
    assert missing(of_both) == []


def in_ms(seconds: float) -> str:
    milliseconds = 1_000 * seconds
    return f"{milliseconds:,.0f}" if milliseconds >= 10 else f"{milliseconds:.2g}"


def test_the_shares_are_those_of_both_reports(static: Results, minilm: Results) -> None:
    of_both = [
        (f"{rows:,}", *(share_of_a_shard(found, rows) for found in (static, minilm)))
        for rows in SHARDS
    ]
    assert missing(of_both) == []


def share_of_a_shard(found: Results, rows: int) -> str:
    return shown(orchestration_of_a_shard(found.fitted.costs, rows, with_reading=True), "%")


def missing(rows: Iterable[Sequence[str]]) -> list[str]:
    lines = PAGE.splitlines()
    return [row for cells in rows if (row := f"| {' | '.join(cells)} |") not in lines]


@pytest.mark.slow
def test_the_plan_is_what_the_command_prints() -> None:
    costs = "benchmarks/results/cluster/minilm/costs.json"
    assert f"-m benchmarks.cluster --plan {costs}\n" in PAGE
    printed = subprocess.run(
        [sys.executable, "-m", "benchmarks.cluster", "--plan", costs],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    tables = [part for part in printed.strip().split("\n\n") if part.startswith("|")]
    assert len(tables) == 5
    assert [table for table in tables if table not in PAGE] == []
