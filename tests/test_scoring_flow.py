import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import ArtifactSort

from flows.score_shards import score_shards
from tasks import answers
from tasks.errors import (
    DataError,
    ModelError,
    OutputInUseError,
    ParameterError,
    ProofError,
    ShardsFailedError,
)
from tasks.fan_out import survey_in_parallel
from tasks.inputs import find
from tasks.output_folder import sole_user
from tasks.pipelines import REGISTERED_NAME
from tasks.scoring_types import InputFile, ScoringModel, ScoringParameters, Surveyed
from tasks.tracking import connect
from tests.builders import Trained
from tests.http_server import Reply, serving


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Three shards of ten rows: eight texts, of which two repeat, one null and one empty."""
    folder = tmp_path / "in"
    folder.mkdir()
    for shard in range(3):
        texts: list[str | None] = [f"{tmp_path} {shard} film {row % 6}" for row in range(8)]
        table = pd.DataFrame({"id": range(10), "text": [*texts, None, ""]})
        table.to_parquet(folder / f"part-{shard}.parquet")
    return folder


@contextmanager
def on_log(logger: str, words: str, act: Callable[[], object]) -> Iterator[list[str]]:
    """Act once, when a line with these words is logged; yield the lines that have them."""
    lines: list[str] = []

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if words in record.getMessage():
                lines.append(record.getMessage())
                if len(lines) == 1:
                    act()

    handler = Watch()
    logging.getLogger(logger).addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger(logger).removeHandler(handler)


@contextmanager
def version_tagged(trained: Trained, **tags: str) -> Iterator[ModelVersion]:
    """Register the pipeline once more under other tags, for a while."""
    client = connect()
    name, number = trained.pipeline["inference_pipeline_model"].removeprefix("models:/").split("/")
    first = client.get_model_version(name, number)
    source = str(first.source)
    version = client.create_model_version(
        name,
        source=source,
        run_id=first.run_id,
        tags=first.tags | tags,
        model_id=source.removeprefix("models:/"),
    )
    try:
        yield version
    finally:
        client.delete_model_version(name, version.version)


@contextmanager
def champion_back(client: MlflowClient) -> Iterator[None]:
    version = client.get_model_version_by_alias(REGISTERED_NAME, "champion").version
    try:
        yield
    finally:
        client.set_registered_model_alias(REGISTERED_NAME, "champion", version)


# A run


def test_run_answers_every_row_once_and_says_so_everywhere(
    trained: Trained, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A name that Rich would read as markup.
    folder = tmp_path / "[bold] out [/red]"
    summary = score_shards(inputs=[str(inputs)], output_dir=str(folder), workers=2)
    counted = {
        "rows_in": 30,
        "scored": 24,
        "rejected": 6,
        "cache_hits": 6,
        "model_calls": 18,
        "shards_total": 3,
        "shards_done": 3,
        "shards_skipped": 0,
        "shards_failed": 0,
    }
    assert summary.items() >= counted.items()
    assert summary["model_uri"] == trained.pipeline["inference_pipeline_model"]
    assert sum(summary["labels"].values()) == sum(summary["languages"].values()) == 24
    assert summary["failures"] == {}

    predictions = pd.read_parquet(folder / "predictions")
    rejected = pd.read_parquet(folder / "rejected")
    assert (len(predictions), len(rejected)) == (24, 6)
    assert predictions["cached"].sum() == 6
    assert sorted(predictions["id"]) == sorted([*range(8)] * 3)
    assert (predictions["row"] == predictions["id"] + 1).all()
    assert sorted(rejected["reason"]) == ["empty"] * 3 + ["null"] * 3
    assert predictions["shard"].nunique() == rejected["shard"].nunique() == 3
    shards = set(predictions["shard"])
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {".lock", "manifest.json"} | {
        f"{kind}/{shard}.{ending}"
        for shard in shards
        for kind, ending in {
            "predictions": "parquet",
            "rejected": "parquet",
            "records": "json",
        }.items()
    }

    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["summary"] == json.loads(json.dumps(summary))
    assert [shard["record"]["counts"]["rows_in"] for shard in manifest["shards"]] == [10, 10, 10]
    assert manifest["parameters"]["model"]["uri"] == summary["model_uri"]
    computing = {"engine": "openvino", "precision": "f32", "device": "cpu", "fallback": ""}
    assert manifest["parameters"]["model"].items() >= computing.items()
    assert {shard["record"]["engine"] for shard in manifest["shards"]} == {"openvino"}
    assert {shard["record"]["precision"] for shard in manifest["shards"]} == {"f32"}
    assert (summary["engine"], summary["engine_fallback"]) == ("openvino f32 on cpu", "")

    shown = capsys.readouterr().out
    assert "Scored shards" in shown
    assert "[/red]" in "".join(shown.split())

    with get_client(sync_client=True) as client:
        (artifact, *_) = client.read_artifacts(sort=ArtifactSort.CREATED_DESC, limit=1)
    assert artifact.key == "scoring-summary"
    assert "| rows in | 30 |" in str(artifact.data)


def test_run_is_in_mlflow_with_its_figures_and_its_manifest(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    summary = score_shards([str(inputs)], str(tmp_path / "out"), shard_rows=4)
    client = connect()
    experiment = client.get_experiment_by_name("score-shards")
    assert experiment is not None
    run = client.search_runs([experiment.experiment_id], max_results=1)[0]
    assert run.info.status == "FINISHED"
    assert run.data.tags["output_dir"] == str(tmp_path / "out")
    assert (run.data.tags["engine"], run.data.tags["precision"]) == ("openvino", "f32")
    assert run.data.params["shard_rows"] == "4"
    for name in ("rows_in", "scored", "rejected", "model_calls", "cache_hits", "shards_done"):
        assert run.data.metrics[name] == summary[name]
    avoided = summary["model_calls_avoided"]["deduplication"]
    assert run.data.metrics["model_calls_avoided_by_deduplication"] == avoided
    manifest = client.download_artifacts(run.info.run_id, "manifest.json", str(tmp_path))
    assert Path(manifest).read_bytes() == (tmp_path / "out" / "manifest.json").read_bytes()


def test_accuracy_is_told_where_there_are_labels(trained: Trained, tmp_path: Path) -> None:
    table = pd.DataFrame({"text": ["a great film", "an awful film"], "label": ["positive"] * 2})
    table.to_csv(tmp_path / "rows.csv")
    summary = score_shards(
        [str(tmp_path / "rows.csv")], str(tmp_path / "out"), label_column="label"
    )
    predicted = pd.read_parquet(tmp_path / "out" / "predictions")["prediction_label"]
    assert summary["accuracy"] == (predicted == "positive").mean()
    assert "accuracy" not in score_shards([str(tmp_path / "rows.csv")], str(tmp_path / "out"))


def test_run_on_a_machine_without_the_engine_says_why_another_answers(
    trained: Trained, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = score_shards([str(inputs)], str(tmp_path / "out"))
    pipeline = answers.typed_pipeline(first["model_uri"])
    shipped = sys.modules[type(pipeline).__module__.replace(".pipeline", ".engines")]
    reasons = {"openvino": "not here", "torch": ""}
    monkeypatch.setattr(shipped, "hindrance", lambda variant: reasons[variant.engine])
    answers._load.cache_clear()
    with on_log("pyfunc.pipeline", "answers", lambda: None) as lines:
        second = score_shards([str(inputs)], str(tmp_path / "out"), workers=2)
    answers._load.cache_clear()
    fallback = "openvino f32: not here"
    assert lines == [f"torch f32 answers ({fallback})"]
    assert (second["engine"], second["engine_fallback"]) == ("torch f32 on cpu", fallback)
    # It computes otherwise, if only in the last digits.
    assert second["scored_because"] == {"the model changed": 3}
    assert second["labels"] == first["labels"]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    computing = {"engine": "torch", "precision": "f32", "device": "cpu", "fallback": fallback}
    assert manifest["parameters"]["model"].items() >= computing.items()
    assert {shard["record"]["engine"] for shard in manifest["shards"]} == {"torch"}


# What is not done twice


def made(summary: dict[str, Any]) -> tuple[int, ...]:
    avoided = summary["model_calls_avoided"]
    own = (avoided["deduplication"], avoided["cache"], avoided["resume"])
    assert summary["model_calls"] + sum(own) == summary["scored"]
    assert summary["cache_hits"] == own[0] + own[1]
    return (summary["model_calls"], *own)


def test_equal_texts_are_predicted_once_in_a_run_and_never_again_after_it(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    for part in (1, 2):  # all three shards are equal
        (inputs / f"part-{part}.parquet").write_bytes((inputs / "part-0.parquet").read_bytes())
    first = made(score_shards([str(inputs)], str(tmp_path / "out"), workers=3))
    assert first[0] == 6
    assert first[1] + first[2] == 18
    assert made(score_shards([str(inputs)], str(tmp_path / "other"), batch_tokens=16)) == (
        0,
        0,
        24,
        0,
    )
    without = score_shards([str(inputs)], str(tmp_path / "other"), resume=False, use_cache=False)
    assert made(without) == (24, 0, 0, 0)
    assert not pd.read_parquet(tmp_path / "other" / "predictions")["cached"].any()


def test_second_run_skips_what_is_done_and_says_so(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    first = score_shards([str(inputs)], str(tmp_path / "out"), use_cache=False)
    published = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/*.*")}
    assert len(published) == 9
    second = score_shards([str(inputs)], str(tmp_path / "out"), use_cache=False)
    assert made(second) == (0, 0, 0, 24)
    assert second["seconds_saved"] > 0
    assert (second["shards_done"], second["shards_skipped"]) == (3, 3)
    same = ("rows_in", "scored", "rejected", "labels", "languages", "rejected_because")
    assert {name: first[name] for name in same} == {name: second[name] for name in same}
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/*.*")} == published


def alter_the_input(folder: Path, output: Path) -> dict[str, Any]:
    table = pd.read_parquet(folder / "part-1.parquet")
    table.loc[0, "text"] = "another film"
    table.to_parquet(folder / "part-1.parquet")
    return {}


def delete_the_predictions(folder: Path, output: Path) -> dict[str, Any]:
    next(output.glob("predictions/part-1-*")).unlink()
    return {}


def alter_the_rejects(folder: Path, output: Path) -> dict[str, Any]:
    with next(output.glob("rejected/part-1-*")).open("ab") as file:
        file.write(b"more")
    return {}


def cut_the_record(folder: Path, output: Path) -> dict[str, Any]:
    record = next(output.glob("records/part-1-*"))
    record.write_bytes(record.read_bytes()[:100])
    return {}


def delete_the_record(folder: Path, output: Path) -> dict[str, Any]:
    next(output.glob("records/part-1-*")).unlink()
    return {}


def change_nothing_that_matters(folder: Path, output: Path) -> dict[str, Any]:
    return {
        "batch_tokens": 16,
        "workers": 1,
        "use_cache": False,
        "max_failed_shards": 1,
        "label_column": "",
        "languages": ["en"],
        "language_threshold": 0.5,
    }


def ask_for_a_flag(folder: Path, output: Path) -> dict[str, Any]:
    return {"language_policy": "flag", "languages": ["en"]}


def ask_to_start_over(folder: Path, output: Path) -> dict[str, Any]:
    return {"resume": False}


def ask_for_other_ranges(folder: Path, output: Path) -> dict[str, Any]:
    return {"shard_rows": 9}


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        (alter_the_input, {"the input changed": 1}),
        (delete_the_predictions, {"its predictions file is missing": 1}),
        (alter_the_rejects, {"its rejected file was altered": 1}),
        (cut_the_record, {"its record is damaged": 1}),
        (delete_the_record, {"new": 1}),
        (change_nothing_that_matters, {}),
        (ask_for_a_flag, {"the parameters changed": 3}),
        (ask_to_start_over, {"resume is false": 3}),
        (ask_for_other_ranges, {"the row range changed": 3, "new": 3}),
    ],
)
def test_what_is_no_longer_as_recorded_is_scored_again_and_the_summary_says_why(
    trained: Trained,
    inputs: Path,
    tmp_path: Path,
    change: Callable[[Path, Path], dict[str, Any]],
    reasons: dict[str, int],
) -> None:
    output = tmp_path / "out"
    score_shards([str(inputs)], str(output))
    parameters = change(inputs, output)
    summary = score_shards([str(inputs)], str(output), **parameters)
    assert summary["scored_because"] == reasons
    assert (summary["rows_in"], summary["scored"], summary["rejected"]) == (30, 24, 6)
    rows = pd.concat([pd.read_parquet(output / folder) for folder in ("predictions", "rejected")])
    assert len(rows) == 30
    assert not rows.duplicated(["id", "shard"]).any()


def test_ranges_that_a_file_no_longer_has_are_removed_and_other_files_stay(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    score_shards([str(inputs)], str(output), shard_rows=4)
    assert len(list(output.glob("predictions/*"))) == 9
    pd.read_parquet(inputs / "part-1.parquet").head(3).to_parquet(inputs / "part-1.parquet")
    (inputs / "part-2.parquet").unlink()
    assert score_shards([str(inputs)], str(output), shard_rows=4)["rows_in"] == 13
    for folder in ("predictions", "rejected", "records"):
        names = sorted(path.name[:6] for path in (output / folder).iterdir())
        assert names == ["part-0"] * 3 + ["part-1"] + ["part-2"] * 3


def test_what_a_killed_run_left_is_cleared_away(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    score_shards([str(inputs)], str(output))
    left = [
        output / "predictions" / ".part-0.parquet.123.draft",
        output / "records" / ".part-0.json.123.draft",
        output / ".manifest.json.123.draft",
        output / ".staged" / "part-0-00001.arrow",
    ]
    left[-1].parent.mkdir(exist_ok=True)
    for path in left:
        path.touch()
    score_shards([str(inputs)], str(output))
    assert not [path for path in left if path.exists()]


# Ranges


@given(data=st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_outputs_put_together_are_the_input_in_order_whatever_the_shard_size(
    trained: Trained, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    tmp_path = tmp_path_factory.mktemp("ranges")
    rows = data.draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "id": st.none() | st.integers(-(2**62), 2**62),
                    "text": st.none() | st.text(max_size=20) | st.sampled_from(["NA", "a film"]),
                    "seen": st.none() | st.datetimes(),
                    "tags": st.none() | st.lists(st.text(max_size=3), max_size=2),
                }
            ),
            max_size=40,
        )
    )
    schema = pa.schema(
        [
            ("id", pa.int64()),
            ("text", pa.string()),
            ("seen", pa.timestamp("us")),
            ("tags", pa.list_(pa.string())),
        ]
    )
    table = pa.Table.from_pylist(rows, schema)
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=7)
    shard_rows = data.draw(st.integers(1, 50))
    summary = score_shards.fn(
        [str(tmp_path / "rows.parquet")], str(tmp_path / "out"), shard_rows=shard_rows
    )
    assert summary["shards_done"] == max(1, -(-len(rows) // shard_rows))
    parts = [
        pq.read_table(path).select([*schema.names, "row"])
        for folder in ("predictions", "rejected")
        for path in sorted((tmp_path / "out" / folder).iterdir())
    ]
    whole = pa.concat_tables(parts).sort_by("row")
    assert whole["row"].to_pylist() == list(range(1, len(rows) + 1))
    assert whole.drop_columns(["row"]).equals(table)
    predictions = pq.read_table(tmp_path / "out" / "predictions")
    assert predictions["prediction_label"].null_count == 0
    assert predictions.num_rows == summary["scored"]


# What fails


def test_broken_file_fails_alone_and_the_run_after_the_others(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    broken = inputs / "part-1.parquet"
    broken.write_bytes(b"PAR1")
    with pytest.raises(ShardsFailedError) as raised:
        score_shards(inputs=[str(inputs)], output_dir=str(tmp_path / "out"))
    message = str(raised.value)
    assert message.startswith("1 of 3 shards failed; the first, part-1-")
    assert f"{broken}: expected a Parquet table" in message
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    summary = manifest["summary"]
    assert (summary["shards_done"], summary["shards_failed"]) == (2, 1)
    assert summary["rows_in"] == summary["scored"] + summary["rejected"] == 20
    errors = {Path(shard["source"]).name: shard["error"] for shard in manifest["shards"]}
    assert errors.pop("part-1.parquet").startswith(f"{broken}: ")
    assert errors == {"part-0.parquet": "", "part-2.parquet": ""}
    published = {path.name[:6] for path in (tmp_path / "out").rglob("*.parquet")}
    assert published == {"part-0", "part-2"}


def test_address_that_brings_nothing_fails_alone(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    with serving(b"text\na film\n") as server:
        good, bad = (f"http://{server.host}/{name}.csv?token=secret" for name in ("good", "bad"))
        server.will(Reply(status=404))  # the first to be asked for
        summary = score_shards(
            [bad, good, str(inputs)], str(tmp_path / "out"), max_failed_shards=1, workers=1
        )
    assert (summary["shards_done"], summary["shards_failed"]) == (4, 1)
    (error,) = summary["failures"].values()
    assert error == f"http://{server.host}/bad.csv: HTTP 404, expected 200"
    assert not list((trained.home / "data" / "downloads" / "scoring").iterdir())


def test_addresses_that_differ_in_their_queries_alone_are_two_files(
    trained: Trained, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    with serving(b"text\na film\n") as server:
        urls = [f"http://{server.host}/export.csv?part={part}" for part in (1, 2)]
        summary = score_shards(urls, str(output))
        assert (summary["rows_in"], summary["shards_done"]) == (2, 2)
        server.will(Reply(status=404))
        score_shards([urls[0]], str(output), max_failed_shards=1, workers=1)
        score_shards([urls[1]], str(output))
    manifest = json.loads((output / "manifest.json").read_text())
    assert [failure["error"] for failure in manifest["still_failed"]] == [
        f"http://{server.host}/export.csv: HTTP 404, expected 200"
    ]


def test_columns_that_arrows_data_sets_have_are_like_any_other(
    trained: Trained, tmp_path: Path
) -> None:
    names = ["__fragment_index", "__batch_index", "__filename"]
    table = pa.table({"text": ["a film"], **{name: [1] for name in names}})
    pq.write_table(table, tmp_path / "rows.parquet")
    score_shards([str(tmp_path / "rows.parquet")], str(tmp_path / "out"))
    (path,) = (tmp_path / "out" / "predictions").iterdir()
    assert pq.ParquetFile(path).read().select(table.column_names).equals(table)


def test_as_many_shards_may_fail_as_is_allowed(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    (inputs / "part-1.parquet").write_bytes(b"PAR1")
    summary = score_shards([str(inputs)], str(tmp_path / "out"), max_failed_shards=1)
    assert (summary["shards_done"], summary["shards_failed"]) == (2, 1)


def test_more_rejected_rows_than_allowed_fail_the_run_which_is_published_all_the_same(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    with pytest.raises(ShardsFailedError) as raised:
        score_shards([str(inputs)], str(output), max_rejected_fraction=0.19)
    assert str(raised.value) == (
        "6 of 30 rows were rejected, most of them for 'validate: null'; expected at most 19.00%"
    )
    assert len(pd.read_parquet(output / "rejected")) == 6
    summary = score_shards([str(inputs)], str(output), max_rejected_fraction=0.2)
    assert summary["shards_skipped"] == 3


@flow(name="survey-listed-files")
def survey_listed(
    files: tuple[InputFile, ...], parameters: ScoringParameters
) -> tuple[Surveyed, ...]:
    return survey_in_parallel(files, parameters)


def test_file_that_comes_late_is_surveyed_again(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    model = ScoringModel(
        uri="models:/m/1",
        fingerprint="f",
        labels=(),
        engine="torch",
        precision="f32",
        device="cpu",
    )
    parameters = ScoringParameters(model=model, output_dir=tmp_path / "out")
    files = find([str(inputs)], parameters.output_dir)
    away = files[1].path.rename(tmp_path / "away")

    def bring_back() -> None:
        away.rename(files[1].path)

    with on_log("prefect.task_runs", "Retry 1/2 will start", bring_back) as retries:
        surveys = survey_listed(files, parameters)
    assert len(retries) == 1
    assert [surveyed.survey.rows for surveyed in surveys if surveyed.survey] == [10, 10, 10]


def test_file_that_changes_while_it_is_scored_fails_and_the_next_run_makes_it_good(
    trained: Trained, tmp_path: Path
) -> None:
    path, output = tmp_path / "rows.csv", tmp_path / "out"
    path.write_text("text\n" + "".join(f"film {row}\n" for row in range(9_000)))

    def change() -> None:
        with path.open("a") as file:
            file.write("one more film\n")

    with on_log("tasks.shard_scoring", "rows scored", change):
        first = score_shards(
            [str(path)], str(output), shard_rows=500, workers=1, max_failed_shards=18
        )
    assert "changed while it was read" in next(iter(first["failures"].values()))
    assert first["rows_failed"] == 500 * first["shards_failed"] > 0
    assert first["rows_in"] + first["rows_failed"] == 9_000
    assert sum(first["scored_because"].values()) == first["shards_done"]
    summary = score_shards([str(path)], str(output), shard_rows=500)
    assert summary["scored"] == 9_001
    assert summary["shards_skipped"] == 0
    rows = pd.read_parquet(output / "predictions")
    assert sorted(rows["row"]) == list(range(1, 9_002))


def test_rows_that_are_lost_between_input_and_output_fail_the_proof(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"

    def lose_a_row() -> None:
        path = next(output.glob("predictions/part-0-*"))
        pq.write_table(pq.read_table(path).slice(1), path)

    with (
        on_log("tasks.shard_scoring", "part-2", lose_a_row),
        pytest.raises(ProofError, match="has 7 rows; expected 8, as in its record"),
    ):
        score_shards([str(inputs)], str(output), workers=1)
    summary = score_shards([str(inputs)], str(output))
    assert summary["scored_because"] == {"its predictions file was altered": 1}


def test_second_run_on_a_folder_is_told_who_holds_it(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    with (
        sole_user(tmp_path / "out", "first-run"),
        pytest.raises(OutputInUseError, match=r"in use by run first-run \(process \d+ on "),
    ):
        score_shards([str(inputs)], str(tmp_path / "out"))
    assert score_shards([str(inputs)], str(tmp_path / "out"))["shards_done"] == 3


# Dry runs


def test_dry_run_tells_what_a_run_would_do_and_writes_nothing(
    trained: Trained, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    first = score_shards([str(inputs / "part-0.parquet")], str(output), dry_run=True)
    assert not output.exists()
    assert first["expected_seconds"] is None
    score_shards([str(inputs / "part-0.parquet")], str(output))
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    again = pd.read_parquet(inputs / "part-0.parquet")
    again.to_parquet(inputs / "part-3.parquet")
    told = score_shards([str(inputs)], str(output), dry_run=True)
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before
    expected = {
        "rows": 40,
        "distinct_texts": 18,
        "duplicates": 14,
        "rows_that_cannot_be_scored": 8,
        "shards_total": 4,
        "shards_to_skip": 1,
        "shards_to_score": 3,
        "expected_model_calls": 12,
        "expected_cache_hits": 12,
        "scored_because": {"new": 3},
    }
    assert told.items() >= expected.items()
    assert told["expected_seconds"] > 0
    assert "Dry run: nothing was written" in capsys.readouterr().out
    summary = score_shards([str(inputs)], str(output))
    assert summary["model_calls"] == told["expected_model_calls"]
    assert summary["cache_hits"] == told["expected_cache_hits"]


def test_dry_run_knows_the_language_policy(trained: Trained, tmp_path: Path) -> None:
    french = "Ce film est une merveille, je le recommande à tous mes amis sans hésiter"
    pd.DataFrame({"text": [french, "a film"]}).to_csv(tmp_path / "rows.csv")
    policy: dict[str, Any] = {
        "language_policy": "reject",
        "languages": ["en"],
        "use_cache": False,
    }
    told = score_shards([str(tmp_path / "rows.csv")], str(tmp_path / "o"), dry_run=True, **policy)
    done = score_shards([str(tmp_path / "rows.csv")], str(tmp_path / "o"), **policy)
    assert (told["rows_that_cannot_be_scored"], told["expected_model_calls"]) == (1, 1)
    assert (done["rejected"], done["model_calls"]) == (1, 1)


def test_dry_run_without_the_cache_expects_a_call_a_row(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    told = score_shards([str(inputs)], str(tmp_path / "out"), dry_run=True, use_cache=False)
    assert (told["expected_model_calls"], told["expected_cache_hits"]) == (24, 0)


# The model


def test_alias_that_moves_during_a_run_does_not_mix_versions(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    client = connect()

    def take_away_alias() -> None:
        client.delete_registered_model_alias(REGISTERED_NAME, "champion")

    with champion_back(client):
        with on_log("tasks.shard_scoring", "rows scored", take_away_alias) as scored:
            summary = score_shards([str(inputs)], str(tmp_path / "out"), workers=1)
        with pytest.raises(ModelError, match="no version 'champion'"):
            score_shards([str(inputs)], str(tmp_path / "out"))
    assert len(scored) == 3
    assert summary["shards_done"] == 3
    uris = pd.read_parquet(tmp_path / "out" / "predictions")["inference_pipeline_model_uri"]
    assert uris.nunique() == 1


def test_plain_pipeline_cannot_score(trained: Trained, inputs: Path, tmp_path: Path) -> None:
    with version_tagged(trained, kind="plain") as version:
        uri = f"models:/{version.name}/{version.version}"
        with pytest.raises(ModelError, match=f"{uri} is no full inference pipeline"):
            score_shards([str(inputs)], str(tmp_path / "out"), model_uri=uri)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"inputs": []}, ParameterError, "inputs: none given"),
        ({"inputs": ["none.csv"]}, DataError, "inputs: 'none.csv' brings no file"),
        ({"output_dir": ""}, ParameterError, "output_dir: missing; expected a folder"),
        ({"output_dir": "/dev/null/out"}, ParameterError, "output_dir: /dev/null is a file"),
        ({"language_policy": "reject"}, ParameterError, "languages: none given; language_policy"),
        ({"languages": ["english"]}, ParameterError, r"languages: \['english'\]; expected codes"),
        ({"model_uri": "a/b"}, ParameterError, "model_uri: 'a/b'; expected a number, an alias"),
        (
            {"model_uri": "models:/none/1"},
            ModelError,
            "none: no version '1'; nothing is registered",
        ),
    ],
)
def test_parameter_that_cannot_be_used_is_named_before_any_work(
    trained: Trained,
    inputs: Path,
    tmp_path: Path,
    parameters: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    given: dict[str, Any] = {"inputs": [str(inputs)], "output_dir": str(tmp_path / "out")}
    with pytest.raises(error, match=f"^{message}"):
        score_shards.fn(**given | parameters)
    assert not (tmp_path / "out").exists()
