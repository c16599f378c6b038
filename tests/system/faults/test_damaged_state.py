"""A prediction cache that is damaged or closed to us, and an MLflow database that is locked."""

import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.support.scoring_command import Ended, Running, Scoring, wait_until
from tests.system.faults.rows import write_rows
from tests.system.faults.whole import check_same, check_tidy, check_whole

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("campaign")]

# Root too is bound by permissions without these.
_UNPRIVILEGED = "-dac_override,-dac_read_search"
BOUND = ("setpriv", f"--bounding-set={_UNPRIVILEGED}", f"--inh-caps={_UNPRIVILEGED}")


@pytest.fixture
def expected(scoring: Scoring, tmp_path: Path) -> Path:
    """What a run gives that has no cache."""
    write_rows(tmp_path / "in", 4_000, seed=7)
    undisturbed = replace(
        scoring, output=tmp_path / "expected", options=("--shard-rows", "400", "--no-use-cache")
    )
    undisturbed.run_to_the_end()
    return undisturbed.output


@pytest.fixture
def sharded(scoring: Scoring) -> Scoring:
    return replace(scoring, options=("--shard-rows", "400"))


def overwrite(path: Path) -> None:
    """Put noise in the place of a file's content; its size stays."""
    with path.open("r+b") as file:
        file.write(secrets.token_bytes(path.stat().st_size))


def warnings_of_the_cache(ended: Ended) -> int:
    return sum(
        "prediction cache" in line and " fails (" in line for line in ended.said.splitlines()
    )


def check_unharmed(scoring: Scoring, ended: Ended, expected: Path) -> None:
    assert ended.code == 0, ended.said
    assert "Traceback" not in ended.said
    check_tidy(scoring.output)
    check_same(scoring.output, expected)
    assert warnings_of_the_cache(ended) == 1
    assert scoring.summary()["cache_failures"] > 0


def await_first_shard(running: Running, output: Path) -> None:
    wait_until(lambda: running.is_over or list(output.glob("records/*.json")), "the first shard")
    assert not running.is_over, running.said


# The cache


def test_a_cache_that_is_noise_before_a_run_costs_no_answer(
    sharded: Scoring, expected: Path, tmp_path: Path
) -> None:
    replace(sharded, output=tmp_path / "earlier").run_to_the_end()
    overwrite(sharded.home / "prediction-cache" / "cache.db")
    check_unharmed(sharded, sharded.run(), expected)


def test_a_cache_that_becomes_noise_during_a_run_costs_no_answer(
    sharded: Scoring, expected: Path
) -> None:
    running = sharded.start()
    try:
        await_first_shard(running, sharded.output)
        overwrite(sharded.home / "prediction-cache" / "cache.db")
    finally:
        ended = running.wait()
    check_unharmed(sharded, ended, expected)


@pytest.mark.parametrize("filled_before", [False, True], ids=["new", "filled"])
def test_a_cache_that_may_not_be_written_costs_no_answer(
    sharded: Scoring, expected: Path, tmp_path: Path, filled_before: bool
) -> None:
    folder = sharded.home / "prediction-cache"
    if filled_before:
        replace(sharded, output=tmp_path / "earlier").run_to_the_end()
    folder.mkdir(exist_ok=True)
    closed = [*folder.iterdir(), folder]
    for path in closed:
        path.chmod(0o555)
    bound = replace(sharded, wrapper=BOUND if os.getuid() == 0 else ())
    try:
        check_unharmed(sharded, bound.run(), expected)
    finally:
        folder.chmod(0o755)


# MLflow


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold a database as another process would that writes to it."""
    with closing(sqlite3.connect(database, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        yield
        holder.execute("ROLLBACK")


def runs_in_mlflow(home: Path) -> list[Run]:
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    experiment = client.get_experiment_by_name("score-shards")
    return [] if experiment is None else list(client.search_runs([experiment.experiment_id]))


def check_recorded(scoring: Scoring, runs: int) -> None:
    logged = runs_in_mlflow(scoring.home)
    assert [run.info.status for run in logged] == ["FINISHED"] * runs
    last = logged[0]
    assert last.data.metrics["rows_in"] == scoring.summary()["rows_in"]
    artifacts = Path(str(last.info.artifact_uri).removeprefix("file://"))
    manifest = (artifacts / "manifest.json").read_bytes()
    assert manifest == (scoring.output / "manifest.json").read_bytes()


def test_a_database_that_is_locked_for_a_minute_gets_the_record_late(
    sharded: Scoring, expected: Path
) -> None:
    earlier = len(runs_in_mlflow(sharded.home))
    running = sharded.start()
    try:
        await_first_shard(running, sharded.output)
        with locked(sharded.home / "mlflow.db"):
            time.sleep(60)
            assert (sharded.output / "manifest.json").exists()
            assert not running.is_over, running.said
    finally:
        ended = running.wait()
    assert ended.code == 0, ended.said
    check_tidy(sharded.output)
    check_same(sharded.output, expected)
    check_recorded(sharded, earlier + 1)


def test_a_database_that_stays_locked_costs_the_record_alone_and_the_next_run_makes_one(
    sharded: Scoring, expected: Path
) -> None:
    earlier = len(runs_in_mlflow(sharded.home))
    running = sharded.start()
    try:
        await_first_shard(running, sharded.output)
        with locked(sharded.home / "mlflow.db"):
            ended = running.wait()
    finally:
        running.kill()
    assert ended.code == 10, ended.said
    assert ended.error.startswith("everything is published, but MLflow has no record of this run (")
    check_tidy(sharded.output)
    check_same(sharded.output, expected)
    before = check_whole(sharded.output)

    summary = sharded.run_to_the_end()
    assert summary["shards_skipped"] == summary["shards_total"]
    assert check_whole(sharded.output).records == before.records
    check_recorded(sharded, earlier + 1)
