"""What a shard publishes and records, whole or not at all."""

import random
import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.common.errors import OutputError
from tasks.common.files import sha256_of
from tasks.inputs.input_files import list_input_files
from tasks.output.records import PREDICTION_COLUMNS, REJECTED_COLUMNS, read_record
from tasks.scoring.scoring_model import resolve_scoring_model
from tasks.scoring.shard_scorer import copy_shards, score_rows
from tasks.scoring.types import ScoringParameters, ShardOutcome
from tasks.tracking.pipeline_loader import load_pipeline, predict_documents
from tests.support.builders import Composed, Trained
from tests.tasks.scoring.shard_scorer.shards import in_out, output, score_table, stage, with_rows

# What is published

MIXED = pa.table(
    {
        "id": pa.array([10, None, 30, 40, 50], pa.int32()),
        "text": ["a great film", None, "NA", " ", "an awful film"],
        "seen": pa.array([datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 6)]),
        "tags": [{"of": ["x", None]}, None, {"of": []}, {"of": None}, {"of": ["NA"]}],
        "price": pa.array([Decimal("1.50")] * 5),
        "kind": pa.array(["007", "NA", "None", "", None]).dictionary_encode(),
        "raw bytes": pa.array([b"\xff", None, b"", b"a", b"b"]),
    }
)


def test_predictions_have_every_input_column_then_those_of_the_contract(
    parameters: ScoringParameters,
) -> None:
    score_table(MIXED, parameters)
    predictions = output("predictions", parameters)
    assert predictions.column_names == [
        *MIXED.column_names,
        "shard",
        "row",
        "prediction_label",
        "prediction_score",
        "language_detected",
        "language_reliable",
        "truncated",
        "cached",
        "finetuned_model_uri",
        "inference_pipeline_model_uri",
    ]
    rejected = output("rejected", parameters)
    expected = ["shard", "row", "line", "raw", "step", "reason"]
    assert rejected.column_names == [*MIXED.column_names, *expected]


def test_input_columns_keep_types_values_order_and_row_numbers(
    parameters: ScoringParameters,
) -> None:
    record = score_table(MIXED, parameters)
    for folder, rows in (("predictions", [1, 3, 5]), ("rejected", [2, 4])):
        table = output(folder, parameters)
        assert table["row"].to_pylist() == rows
        assert set(table["shard"].to_pylist()) == {record.shard.id}
        kept = table.select(MIXED.column_names)
        assert kept.schema.equals(MIXED.schema)
        assert kept.to_pylist() == MIXED.take([row - 1 for row in rows]).to_pylist()


def test_types_of_the_added_columns_do_not_depend_on_the_rows(
    parameters: ScoringParameters,
) -> None:
    schemas = []
    for rows in ([0, 2], [1, 3], []):
        score_table(MIXED.take(pa.array(rows, pa.int64())), parameters)
        schemas.append(
            [
                output("predictions", parameters).select(PREDICTION_COLUMNS).schema,
                output("rejected", parameters).select(REJECTED_COLUMNS).schema,
            ]
        )
    assert schemas[0] == schemas[1] == schemas[2]


def test_rows_that_cannot_be_answered_are_rejected_with_step_and_reason(
    parameters: ScoringParameters,
) -> None:
    record = score_table(pa.table({"text": ["", "fine", None, "\n\t"]}), parameters)
    assert in_out(record) == (4, 1, 3)
    rejected = output("rejected", parameters).select(["row", "line", "raw", "step", "reason"])
    assert [tuple(row.values()) for row in rejected.to_pylist()] == [
        (1, None, None, "validate", "empty"),
        (3, None, None, "validate", "null"),
        (4, None, None, "validate", "empty"),
    ]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (pa.array([1, 2]), "not text but int"),
        (pa.array([b"a", b"b"]), "not text but bytes"),
        (pa.array([["a"], ["b"]]), "not text but list"),
        (pa.array([None, None]), "null"),
    ],
)
def test_column_that_holds_no_texts_is_rejected_row_by_row(
    parameters: ScoringParameters, values: pa.Array, reason: str
) -> None:
    record = score_table(pa.table({"text": values}), parameters)
    assert in_out(record) == (2, 0, 2)
    assert output("rejected", parameters)["reason"].to_pylist() == [reason, reason]
    assert output("predictions", parameters).num_rows == 0


def test_table_without_rows_is_published(parameters: ScoringParameters) -> None:
    record = score_table(MIXED.slice(0, 0), parameters)
    assert in_out(record) == (0, 0, 0)
    assert output("predictions", parameters).num_rows == 0


def test_each_row_has_its_own_answer(parameters: ScoringParameters) -> None:
    texts = [f"{'great ' * (row % 7)}film {row}{' so awful' * (row % 5)}" for row in range(24)]
    score_table(pa.table({"text": texts}), parameters)
    predictions = output("predictions", parameters)
    model = load_pipeline(parameters.model.uri)
    for text, row in zip(texts, predictions.to_pylist(), strict=True):
        (answer,) = predict_documents(model, [text], use_cache=False, batch_tokens=1024)
        assert row["prediction_label"] == answer["response"]["prediction_label"]
        own = answer["response"]["prediction_score"]
        assert row["prediction_score"] == pytest.approx(own, abs=1e-5)
        assert row["language_detected"] == answer["metadata"]["language_detected"]


def test_rows_name_the_models_that_answered(
    parameters: ScoringParameters, trained: Trained
) -> None:
    score_table(MIXED, parameters)
    (row, *_) = output("predictions", parameters).to_pylist()
    assert row["finetuned_model_uri"] == trained.training["finetuned_model"]
    assert load_pipeline(row["inference_pipeline_model_uri"]) is not None


def test_texts_may_be_of_any_type_of_string(parameters: ScoringParameters) -> None:
    for kind in (pa.large_string(), pa.string_view()):
        other = pa.array([b"a", None, b""], pa.binary_view())
        table = pa.table({"text": pa.array(["a film", None, ""], kind), "other": other})
        assert in_out(score_table(table, parameters)) == (3, 1, 2)
        for folder in ("predictions", "rejected"):
            assert output(folder, parameters).select(["text", "other"]).schema == table.schema
    assert output("rejected", parameters)["reason"].to_pylist() == ["null", "empty"]


VIEW = pa.string_view()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.list_(VIEW), ["a"]),
        (pa.large_list(pa.list_(pa.binary_view())), [[b"a"]]),
        (pa.list_(VIEW, 1), ["a"]),
        (pa.list_view(VIEW), ["a"]),
        (pa.struct([("x", pa.list_(VIEW)), ("n", pa.int8())]), {"x": ["a"], "n": 1}),
        (pa.map_(VIEW, pa.list_(VIEW)), [("a", ["b"])]),
    ],
)
def test_views_within_a_column_come_out_as_they_went_in(
    parameters: ScoringParameters, kind: pa.DataType, value: object
) -> None:
    # Arrow cannot read a null list of a fixed size from Parquet.
    null = value if pa.types.is_fixed_size_list(kind) else None
    other = pa.array([value, null, value], kind)
    table = pa.table({"text": ["a film", "another", ""], "other": other})
    assert in_out(score_table(table, parameters)) == (3, 2, 1)
    assert output("predictions", parameters)["other"].to_pylist() == other.to_pylist()[:2]
    assert output("rejected", parameters)["other"].to_pylist() == other.to_pylist()[2:]


def test_another_column_can_hold_the_texts(parameters: ScoringParameters) -> None:
    named = with_rows(parameters, text_column="body")
    record = score_table(pa.table({"text": [1], "body": ["a great film"]}), named)
    assert record.counts.scored == 1
    assert output("predictions", named).column_names[:2] == ["text", "body"]


# The record


def test_record_tells_what_the_shard_was_made_from_and_holds_the_files_digests(
    parameters: ScoringParameters,
) -> None:
    record = score_table(MIXED, parameters)
    assert read_record(parameters.output_dir, record.shard.id) == record
    path = parameters.output_dir.parent / "rows.parquet"
    assert record.shard.source == str(path)
    assert record.shard.sha256 == sha256_of(path)
    assert (record.shard.first_row, record.shard.rows) == (1, 5)
    assert record.fingerprint == parameters.model.fingerprint
    assert record.files == {
        folder: sha256_of(parameters.output_dir / folder / f"{record.shard.id}.parquet")
        for folder in ("predictions", "rejected")
    }
    scores = output("predictions", parameters)["prediction_score"].to_pylist()
    assert sum(record.scores) == len(scores) == 3
    assert all(record.scores[int(score_rows * 20)] for score_rows in scores)
    assert sum(record.labels.values()) == sum(record.languages.values()) == 3


# Whole or not at all


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Let every write past `size` bytes of a file fail, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("text", ["a great film", None], ids=["scored", "rejected"])
def test_disk_that_is_full_leaves_no_part_of_a_file(
    parameters: ScoringParameters, tmp_path: Path, text: str | None
) -> None:
    noise = [random.Random(row).randbytes(40_000) for row in range(4)]
    table = pa.table({"text": pa.array([text] * 4, pa.string()), "noise": noise})
    whole = score_table(table, parameters)
    published = {path: path.read_bytes() for path in parameters.output_dir.rglob("*.parquet")}
    other = tmp_path / "other.parquet"
    pq.write_table(table.slice(0, 3), other)
    without = parameters.model_copy(update={"use_cache": False})
    for file in (other, tmp_path / "rows.parquet"):
        shard, staged = stage(file, parameters)
        message = r"output_dir: .* cannot be written \(File too large\); what was published"
        with files_end_at(100_000), pytest.raises(OutputError, match=message):
            score_rows(shard, staged, without)
    (file_id,) = (found.id for found in list_input_files([str(other)], parameters.output_dir))
    failed = "predictions" if text else "rejected"
    assert not (parameters.output_dir / failed / f"{file_id}-00001.parquet").exists()
    assert not (parameters.output_dir / "records" / f"{file_id}-00001.json").exists()
    again = parameters.output_dir / failed / f"{whole.shard.id}.parquet"
    assert again.read_bytes() == published[again]
    # A copy is no part of what is scored.
    copying = parameters.model_copy(update={"output_format": "csv"})
    done = ShardOutcome(
        id=whole.shard.id, file_id=whole.shard.file_id, source=whole.shard.source, record=whole
    )
    with files_end_at(100_000), pytest.raises(OutputError, match=message):
        copy_shards([done], copying)
    assert read_record(parameters.output_dir, whole.shard.id) == whole
    assert not [*parameters.output_dir.glob(f"{failed}_csv/*.csv")]
    left = [path.name for path in parameters.output_dir.rglob("*") if path.is_file()]
    assert not [name for name in left if "draft" in name]


# What a composed pipeline publishes

TEXTS = ["great", "a great film", "an awful film", "awful, and then a great film", "so what"]


def test_rows_of_a_composed_pipeline_end_with_who_decided_and_what_members_said(
    composed: Composed, tmp_path: Path
) -> None:
    model = resolve_scoring_model(composed.uri)
    parameters = ScoringParameters(model=model, output_dir=tmp_path / "out")
    parameters = with_rows(parameters, all_scores=True, review_below=0.5)
    schemas = []
    for texts in (TEXTS, TEXTS, [""], []):  # from the cache as well
        record = score_table(pa.table({"text": pa.array(texts, pa.string())}), parameters)
        predictions = output("predictions", parameters)
        schemas.append(predictions.schema)
        assert predictions.column_names[-4:] == [
            "prediction_scores",
            "needs_review",
            "prediction_decided_by",
            "prediction_members",
        ]
        documents = predict_documents(
            load_pipeline(model.uri), texts, use_cache=True, batch_tokens=100
        )
        answered = [d["model_metadata"] for d in documents if d["response"]]
        assert predictions["prediction_decided_by"].to_pylist() == [
            found["decided_by"] for found in answered
        ]
        assert predictions["prediction_members"].to_pylist() == [
            found["members"] for found in answered
        ]
        decided = Counter(found["decided_by"] for found in answered)
        assert record.deciders == decided
        assert read_record(parameters.output_dir, record.shard.id) == record
    assert schemas[0] == schemas[1] == schemas[2] == schemas[3]
