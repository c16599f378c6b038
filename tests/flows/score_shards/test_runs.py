"""A run answers every row once and in order, and its figures are told everywhere."""

import json
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import ArtifactSort

from flows.score_shards import score_shards
from tasks.tracking import pipeline_loader
from tasks.tracking.mlflow_client import connect
from tests.flows.score_shards.log_lines import on_log
from tests.support.builders import Trained
from tests.support.s3 import S3

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


def test_objects_on_s3_are_scored_and_named_by_their_addresses(
    trained: Trained, s3: S3, tmp_path: Path
) -> None:
    bucket, other = s3.new_bucket(), s3.new_bucket()
    rows = b"text\na great film\nan awful film\n"
    packed = pa.compress(rows, "zstd", asbytes=True)
    s3.put(bucket, **{"new/ä b.csv": rows, "new/c.csv.zst": packed, "new/notes.txt": b""})
    s3.put(other, **{"new/ä b.csv": rows})
    inputs = [f"s3://{bucket}/new/", f"s3://{other}/new/*.csv"]
    summary = score_shards(inputs, str(tmp_path / "out"))
    assert (summary["shards_done"], summary["rows_in"], summary["scored"]) == (3, 6, 6)
    records = [json.loads(path.read_text()) for path in (tmp_path / "out/records").iterdir()]
    assert {record["shard"]["source"] for record in records} == {
        f"s3://{bucket}/new/ä b.csv",
        f"s3://{bucket}/new/c.csv.zst",
        f"s3://{other}/new/ä b.csv",
    }
    assert not list((trained.home / "data" / "downloads" / "scoring").iterdir())
    s3.put(bucket, **{"new/c.csv.zst": packed + packed, "new/gone.csv": rows})
    inputs.append(f"s3://{bucket}/new/missing.csv")
    summary = score_shards(inputs, str(tmp_path / "out"), max_failed_shards=1)
    assert (summary["shards_done"], summary["shards_skipped"]) == (4, 2)
    assert list(summary["failures"].values()) == [
        f"s3://{bucket}/new/missing.csv: HTTP 404 (NoSuchKey), expected 200"
    ]


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
    pipeline = pipeline_loader.load_typed_pipeline(first["model_uri"])
    shipped = sys.modules[type(pipeline).__module__.replace(".pipeline", ".engines.selection")]
    reasons = {"openvino": "not here", "torch": ""}
    monkeypatch.setattr(shipped, "unsupported_reason", lambda variant: reasons[variant.engine])
    pipeline_loader.forget_pipelines()
    with on_log("pyfunc.pipeline", "answers", lambda: None) as lines:
        second = score_shards([str(inputs)], str(tmp_path / "out"), workers=2)
    pipeline_loader.forget_pipelines()
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
