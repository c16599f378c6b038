"""The workers of a cluster answer as threads do, and a run shows as much of itself."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.support.cluster import Cluster
from tests.support.operation import Operation, in_operation, until
from tests.support.scoring_command import wait_until
from tests.system.faults.rows import write_rows
from tests.system.faults.whole import check_same, check_tidy

OPTIONS = ("--shard-rows", "200")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "in", 1_000, seed=1)


@pytest.fixture
def by_threads(cluster: Cluster, rows: Path, tmp_path: Path) -> Path:
    """What threads publish."""
    output = tmp_path / "threads"
    cluster.scoring(rows, output, *OPTIONS, "--runner", "threads").run_to_the_end()
    return output


def newest_run(operation: Operation) -> str:
    ended = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
    body = {**ended, "sort": "END_TIME_DESC", "limit": 1}
    return str(operation.post("/flow_runs/filter", body).json()[0]["id"])


def task_runs(operation: Operation, run: str) -> Iterator[tuple[str, str]]:
    """Yield name and state of each task run of a flow run."""
    body = {"flow_runs": {"id": {"any_": [run]}}, "limit": 200}
    for found in operation.post("/task_runs/filter", body).json():
        yield found["name"], found["state_name"]


def test_a_cluster_scores_as_threads_do_and_shows_it(
    cluster: Cluster, rows: Path, by_threads: Path, tmp_path: Path
) -> None:
    output = tmp_path / "cluster"
    summary = cluster.scoring(rows, output, *OPTIONS).run_to_the_end()
    assert summary["rows_in"] == summary["scored"] + summary["rejected"]
    check_same(output, by_threads)
    check_tidy(output)

    operation = cluster.operation
    run = newest_run(operation)
    progress = operation.artifacts_of(run)["scoring-progress"]
    assert progress["data"] == 100.0
    total = summary["rows_in"]
    assert progress["description"].startswith(f"{total:,} of {total:,} rows")
    until(lambda: "score c-" in str(list(task_runs(operation, run))), "task runs")
    scored = [
        (name, state) for name, state in task_runs(operation, run) if name.startswith("score ")
    ]
    # A shard of a few rows is scored with the next.
    assert len(scored) == summary["shards_total"] - 2
    until(
        lambda: {state for _, state in task_runs(operation, run)} == {"Completed"},
        "completed",
    )
    log = operation.log_of(run)
    assert log.count("rows scored") == summary["shards_total"]
    for name in cluster.workers:
        assert f"worker {name} scores with 1 threads" in log


def test_small_files_share_tasks(cluster: Cluster, tmp_path: Path) -> None:
    inputs = tmp_path / "small"
    inputs.mkdir()
    for number in range(250):
        pd.DataFrame({"text": [f"a great film, number {number}"]}).to_csv(
            inputs / f"{number:03}.csv", index=False
        )
    summary = cluster.scoring(inputs, tmp_path / "out").run_to_the_end()
    assert (summary["shards_done"], summary["scored"]) == (250, 250)
    run = newest_run(cluster.operation)
    until(lambda: "prove complete" in str(list(task_runs(cluster.operation, run))), "task runs")
    assert sum(name.startswith("score ") for name, _ in task_runs(cluster.operation, run)) == 3


def test_a_run_that_is_cancelled_in_the_ui_ends_its_tasks(
    cluster: Cluster, rows: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    parameters = {
        "inputs": [str(rows)],
        "output_dir": str(output),
        "shard_rows": 10,
        "use_cache": False,
        "runner": cluster.address,
    }
    with in_operation(tmp_path / "home", MLFLOW_TRACKING_URI=cluster.mlflow_url) as operation:
        run = operation.start("score-shards/score-files", parameters)
        until(lambda: any(output.glob("records/*.json")), "shards")
        operation.set_state(run, "CANCELLING")
        assert operation.wait_for(run)["name"] == "Cancelled"
        assert not (output / ".staged").exists()
        published = sorted(output.rglob("*"))
        unfinished = {"Running", "Pending"}
        until(lambda: unfinished.isdisjoint(s for _, s in task_runs(operation, run)), "ends")
        assert sorted(output.rglob("*")) == published
    summary = cluster.scoring(rows, output, "--shard-rows", "10").run_to_the_end()
    assert 0 < summary["shards_skipped"] < summary["shards_done"]


def test_a_worker_that_joins_is_used(cluster: Cluster, rows: Path, tmp_path: Path) -> None:
    running = cluster.scoring(rows, tmp_path / "out", "--shard-rows", "20").start()
    wait_until(lambda: running.is_over or "rows scored" in running.said, "first shard")
    cluster.start_worker("three")
    try:
        ended = running.wait()
        assert ended.code == 0, ended.said
        assert "worker three scores with 1 threads" in ended.said
        assert "Task run 'score " in cluster.workers["three"].said
    finally:
        cluster.workers.pop("three").kill()


def test_a_runner_needs_shared_servers(cluster: Cluster, rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    uri = {"MLFLOW_TRACKING_URI": ""}
    ended = cluster.scoring(rows, output, **uri).run()
    assert ended.code == 2
    assert ended.error.startswith("MLFLOW_TRACKING_URI: sqlite:///")
    ended = cluster.scoring(rows, output, PREFECT_API_URL="").run()
    assert ended.code == 2
    assert ended.error.startswith("PREFECT_API_URL: missing beside runner tcp://127.0.0.1:")
    ended = cluster.scoring(rows, output, "--runner", "tcp://127.0.0.1:9").run()
    assert ended.code == 13
    assert ended.error.startswith("runner: no scheduler answers at tcp://127.0.0.1:9")
    assert not output.exists()
