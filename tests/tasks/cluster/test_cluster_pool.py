"""The pool of a cluster whose worker is a thread of this process: look-ups, groups that fail."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from distributed import LocalCluster
from prefect import flow

from tasks.cluster.cluster_pool import ClusterPool
from tasks.cluster.cluster_runner import score_on_cluster
from tasks.cluster.connection import check_workers, checked_roster, connected
from tasks.cluster.prefect_tasks import score_group
from tasks.common.errors import ClusterError
from tasks.common.files import move_file
from tasks.common.progress import show_progress
from tasks.inputs.input_files import list_input_files
from tasks.inputs.row_ranges import read_shards
from tasks.output.records import ShardRecord
from tasks.output.row_parameters import RowParameters
from tasks.scoring.planning import plan_files
from tasks.scoring.scoring_model import resolve_scoring_model
from tasks.scoring.shard_scheduler import Submitted
from tasks.scoring.task_runner import survey_in_parallel
from tasks.scoring.types import ScoringParameters, ShardOutcome
from tasks.staging.arrow_files import write_staged
from tasks.staging.types import StagedShard
from tests.support.builders import Trained
from tests.support.business import build_with_rules, write_composition, write_customers

pytestmark = [
    pytest.mark.slow,
    # Dask leaves its sockets to the collector when a cluster ends.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture
def runner(trained: Trained) -> Iterator[str]:
    """The address of a scheduler with one worker, of two threads."""
    with LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    ) as cluster:
        yield str(cluster.scheduler_address)


def parameters_for(uri: str, output: Path, runner: str, **rows: object) -> ScoringParameters:
    model = resolve_scoring_model(uri)
    asked = RowParameters.model_validate(rows)
    return ScoringParameters(
        model=model,
        output_dir=output,
        rows=asked.with_business(*([model.business] if model.business else [])),
        runner=runner,
        use_cache=False,
    )


@flow
def score_files(inputs: tuple[str, ...], parameters: ScoringParameters) -> tuple[ShardOutcome, ...]:
    surveys = survey_in_parallel(list_input_files(inputs, parameters.output_dir), parameters)
    return score_on_cluster(surveys, plan_files(surveys, parameters), parameters)


def test_the_driver_looks_up_and_the_worker_decides(
    trained_anew: Trained, runner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = write_customers(tmp_path / "crm.db")
    monkeypatch.setenv("MILLSTREAM_SOURCE_CRM", f"sqlite:///{database}")
    finetuned = trained_anew.training["finetuned_model"]
    uri = build_with_rules(write_composition(tmp_path, finetuned))
    path = tmp_path / "rows.csv"
    customers = [1, 2, 3, 4] * 5
    texts = [f"an awful film, number {number}" for number in range(len(customers))]
    pd.DataFrame({"text": texts, "customer_id": customers}).to_csv(path, index=False)
    parameters = parameters_for(uri, tmp_path / "out", runner).model_copy(update={"shard_rows": 4})
    outcomes = score_files((str(path),), parameters)
    assert [outcome.error for outcome in outcomes] == [""] * 5
    table = pq.read_table(tmp_path / "out" / "predictions").to_pylist()
    assert [row["customer_id"] for row in table] == [1, 2, 4] * 5  # the third opted out
    assert [row["lookup_customer_tier"] for row in table] == ["gold", "basic", None] * 5
    assert {row["decision_queue"] for row in table if row["customer_id"] == 1} <= {"urgent", None}
    assert not (tmp_path / "out" / ".staged").exists()


@flow
def score_with_a_broken_one(inputs: tuple[str, ...], parameters: ScoringParameters) -> list[object]:
    """Score files as one group, of which the staged rows of the second are broken."""
    surveys = survey_in_parallel(list_input_files(inputs, parameters.output_dir), parameters)
    planned = plan_files(surveys, parameters)
    with (
        connected(parameters.runner) as client,
        show_progress("scoring", sum(p.shard.rows for p in planned)) as progress,
    ):
        roster = checked_roster(client, parameters)
        pool = ClusterPool(client, roster, parameters, progress)
        for number, (surveyed, one) in enumerate(zip(surveys, planned, strict=True)):
            path = pool.staging_folder() / f"{one.shard.id}.arrow"
            for _, rows in read_shards(surveyed, [one.shard]):
                write_staged(rows, path, parameters.output_dir)
            if number == 1:
                path.write_bytes(b"no Arrow")
            pool.submit(Submitted(one, StagedShard(rows=path), ()))
        results: dict[str, object] = {}
        while scored := pool.collect():
            results |= {one.submitted.planned.shard.id: one.result for one in scored}
        # What failed is counted by the scheduler.
        assert progress.percent == pytest.approx(100 * 2 / 3)
    return [results[one.shard.id] for one in planned]


def test_one_shard_of_a_group_fails_alone_and_publishing_is_tried_again(
    trained: Trained,
    runner: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    faults = [OSError(errno.EIO, os.strerror(errno.EIO))]

    def fail_once(draft: Path, target: Path) -> None:
        if target.parent.name == "rejected" and target.name.startswith("c-") and faults:
            raise faults.pop()
        move_file(draft, target)

    monkeypatch.setattr("tasks.staging.publishing.move_file", fail_once)
    monkeypatch.setattr(score_group, "retry_delay_seconds", 0.1)
    for name in "abc":
        (tmp_path / f"{name}.csv").write_text(f"text\na great film {name}\n")
    uri = trained.pipeline["inference_pipeline_model"]
    parameters = parameters_for(uri, tmp_path / "out", runner)
    first, second, third = score_with_a_broken_one((str(tmp_path / "*.csv"),), parameters)
    assert isinstance(first, ShardRecord)
    assert isinstance(third, ShardRecord)
    assert "b-" in str(second)
    assert "ArrowInvalid" in str(second)
    assert len(list((tmp_path / "out" / "predictions").iterdir())) == 2
    assert "Input/output error; it is scored again" in caplog.text
    assert not faults


def test_a_worker_with_another_engine_or_answers_is_refused(
    trained: Trained, runner: str, tmp_path: Path
) -> None:
    parameters = parameters_for(trained.pipeline["inference_pipeline_model"], tmp_path, runner)
    assert check_workers(runner, parameters) == ()
    found = parameters.model
    for changed, reason in (
        ({"device": "cuda"}, f"has the engine {found.engine} f32 on cpu; expected"),
        ({"fingerprint": "0"}, f"has the fingerprint {found.fingerprint}; expected 0, by the pack"),
    ):
        other = parameters.model_copy(update={"model": found.model_copy(update=changed)})
        with pytest.raises(ClusterError, match=f"^runner: none of 1 workers may .* {reason}"):
            check_workers(runner, other)
    assert list(tmp_path.glob(".staged*")) == []
