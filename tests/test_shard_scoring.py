import logging
import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tasks.answers import ask, identify, load_pipeline
from tasks.errors import OutputError
from tasks.files import sha256_of
from tasks.inputs import find
from tasks.languages import LanguagePolicy
from tasks.planning import plan
from tasks.records import RowParameters, Shard, ShardRecord, read_record
from tasks.scoring import survey_input
from tasks.scoring_types import PREDICTION_COLUMNS, REJECTED_COLUMNS, ScoringParameters, Surveyed
from tasks.shard_scoring import score
from tasks.staging import rows_of_shards, write_staged
from tests.builders import Trained

SECRET = "the-text-of-a-row"


@pytest.fixture
def parameters(trained: Trained, tmp_path: Path) -> ScoringParameters:
    model = identify(trained.pipeline["inference_pipeline_model"])
    return ScoringParameters(model=model, output_dir=tmp_path / "out")


def stage(path: Path, parameters: ScoringParameters) -> tuple[Shard, Path]:
    """Put the rows of a file that fits into one shard where `score` reads them."""
    (file,) = find([str(path)], parameters.output_dir)
    surveyed = Surveyed(file=file, survey=survey_input.fn(file, parameters.rows))
    ((shard, rows),) = rows_of_shards(surveyed, [p.shard for p in plan([surveyed], parameters)])
    return shard, write_staged(rows, path.with_suffix(".arrow"))


def score_file(path: Path, parameters: ScoringParameters) -> ShardRecord:
    return score(*stage(path, parameters), parameters)


def score_table(table: pa.Table, parameters: ScoringParameters) -> ShardRecord:
    path = parameters.output_dir.parent / "rows.parquet"
    pq.write_table(table, path)
    return score_file(path, parameters)


def with_rows(parameters: ScoringParameters, **fields: Any) -> ScoringParameters:
    return parameters.model_copy(update={"rows": RowParameters(**fields)})


def output(folder: str, parameters: ScoringParameters) -> pa.Table:
    (file,) = (parameters.output_dir / folder).glob("*.parquet")
    return pq.read_table(file)


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
        (answer,) = ask(model, [text], use_cache=False, batch_tokens=1024)
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


def test_another_column_can_hold_the_texts(parameters: ScoringParameters) -> None:
    named = with_rows(parameters, text_column="body")
    record = score_table(pa.table({"text": [1], "body": ["a great film"]}), named)
    assert record.counts.scored == 1
    assert output("predictions", named).column_names[:2] == ["text", "body"]


def in_out(record: ShardRecord) -> tuple[int, int, int]:
    return record.counts.rows_in, record.counts.scored, record.counts.rejected


# The cache


def counts(record: ShardRecord) -> tuple[int, int, int, int]:
    counted = record.counts
    assert counted.model_calls + counted.repeated + counted.cached == counted.scored
    return counted.scored, counted.model_calls, counted.repeated, counted.cached


def test_repeats_and_later_runs_are_served_from_the_cache(
    parameters: ScoringParameters, tmp_path: Path
) -> None:
    texts = [f"{tmp_path} one", f"{tmp_path} two", f"{tmp_path} one", ""]
    table = pa.table({"text": texts})
    without = parameters.model_copy(update={"use_cache": False})
    assert counts(score_table(table, without)) == (3, 3, 0, 0)
    assert counts(score_table(table, parameters)) == (3, 2, 1, 0)
    assert output("predictions", parameters)["cached"].to_pylist() == [False, False, True]
    cold = output("predictions", parameters).drop_columns(["cached"])
    assert counts(score_table(table, parameters)) == (3, 0, 0, 3)
    assert output("predictions", parameters)["cached"].to_pylist() == [True, True, True]
    assert output("predictions", parameters).drop_columns(["cached"]).equals(cold)
    assert counts(score_table(table, without)) == (3, 3, 0, 0)


def test_result_counts_labels_and_languages(parameters: ScoringParameters) -> None:
    record = score_table(pa.table({"text": ["This film is great", "很好看的电影", ""]}), parameters)
    assert record.languages == {"en": 1, "zh": 1}
    assert sum(record.labels.values()) == 2


# CSV and JSONL


def test_missing_key_of_a_jsonl_row_is_null(tmp_path: Path, parameters: ScoringParameters) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 1}\n\n{"id": 2, "text": "a film"}\n')
    record = score_file(path, parameters)
    assert in_out(record) == (2, 1, 1)
    assert output("rejected", parameters)["id"].to_pylist() == [1]


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_line_breaks_and_separators_within_a_cell_are_part_of_it(
    tmp_path: Path, parameters: ScoringParameters, suffix: str
) -> None:
    path = tmp_path / f"rows.{suffix}"
    text = 'one\r\n"two",\tthree'
    separator = "," if suffix == "csv" else "\t"
    path.write_bytes(
        f'id{separator}text\n7{separator}"{text.replace(chr(34), chr(34) * 2)}"\n'.encode()
    )
    score_file(path, parameters)
    assert output("predictions", parameters)["text"].to_pylist() == [text]


def test_lines_that_cannot_be_read_are_rejected_with_line_and_bytes_among_the_others(
    parameters: ScoringParameters, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"text,id\na film,1\nbad,2,3\n\xff film,4\n,5\nanother film,6\n")
    record = score_file(path, parameters)
    assert in_out(record) == (5, 2, 3)
    predictions, rejected = output("predictions", parameters), output("rejected", parameters)
    assert predictions.select(["id", "row"]).to_pylist() == [
        {"id": 1, "row": 1},
        {"id": 6, "row": 5},
    ]
    found = rejected.select(["text", "id", "row", "line", "raw", "step"]).to_pylist()
    assert [tuple(row.values()) for row in found] == [
        (None, None, 2, 3, b"bad,2,3", "read"),
        (None, None, 3, 4, b"\xff film,4", "read"),
        ("", 5, 4, 5, None, "validate"),
    ]
    assert record.reasons["validate: empty"] == 1


def test_lone_surrogate_of_a_jsonl_text_is_rejected(
    parameters: ScoringParameters, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "a \\ud800 film"}\n{"text": "a film"}\n')
    assert in_out(score_file(path, parameters)) == (2, 1, 1)
    assert output("rejected", parameters)["raw"].to_pylist() == [b'{"text": "a \\ud800 film"}']


def test_text_of_a_parquet_file_that_is_not_utf8_is_rejected_alone(
    parameters: ScoringParameters,
) -> None:
    texts = pa.array([b"a film", SECRET.encode() + b"\xff"], pa.binary()).view(pa.string())
    assert in_out(score_table(pa.table({"text": texts}), parameters)) == (2, 1, 1)
    rejected = output("rejected", parameters)
    assert rejected["reason"].to_pylist() == ["not encodable as UTF-8"]
    assert rejected["text"].cast(pa.binary()).to_pylist() == [SECRET.encode() + b"\xff"]


def test_value_that_python_does_not_have_is_rejected_alone(parameters: ScoringParameters) -> None:
    days = pa.array([2**30, 2, None], pa.int32()).view(pa.date32())
    assert in_out(score_table(pa.table({"text": days}), parameters)) == (3, 0, 3)
    reasons = output("rejected", parameters)["reason"].to_pylist()
    assert reasons == ["not text but DataType", "not text but date", "null"]


# Languages

FRENCH = "Ce film est une merveille, je le recommande à tous mes amis sans hésiter"
ENGLISH = "This film is a marvel, and I recommend it to all my friends without hesitation"


@pytest.mark.parametrize("use_cache", [True, False])
def test_row_in_a_foreign_language_is_rejected_before_it_is_predicted(
    parameters: ScoringParameters, use_cache: bool
) -> None:
    policy = LanguagePolicy(policy="reject", languages=("en", "de"))
    strict = with_rows(parameters, language=policy).model_copy(update={"use_cache": use_cache})
    record = score_table(pa.table({"text": [FRENCH + ".", ENGLISH + ".", "42"]}), strict)
    assert in_out(record) == (3, 2, 1)
    assert record.counts.model_calls == 2
    assert record.reasons == {"language: fr; expected de or en": 1}
    assert record.languages == {"fr": 1, "en": 1, "und": 1}
    assert output("predictions", strict)["row"].to_pylist() == [2, 3]


def test_answer_in_the_cache_does_not_get_a_foreign_row_past_the_policy(
    parameters: ScoringParameters,
) -> None:
    table = pa.table({"text": [FRENCH, ENGLISH]})
    assert in_out(score_table(table, parameters)) == (2, 2, 0)
    strict = with_rows(parameters, language=LanguagePolicy(policy="reject", languages=("en",)))
    assert in_out(score_table(table, strict)) == (2, 1, 1)
    assert in_out(score_table(table, parameters)) == (2, 2, 0)


def test_flag_marks_foreign_rows_in_a_column_of_its_own(parameters: ScoringParameters) -> None:
    flagging = with_rows(parameters, language=LanguagePolicy(policy="flag", languages=("en",)))
    score_table(pa.table({"text": [FRENCH, ENGLISH, "42"]}), flagging)
    predictions = output("predictions", flagging)
    assert predictions.column_names[-1] == "language_flagged"
    assert predictions["language_flagged"].to_pylist() == [True, False, False]


# Labels


@pytest.mark.parametrize(
    "values",
    [["{0}", "{1}", None], [0, 1, None], ["{0}", "1", ""], [0.0, 1.0, None], [False, True, None]],
    ids=["names", "ids", "mixed", "floats", "truth values"],
)
def test_labels_are_compared_by_name_or_id_and_rows_without_one_are_left_out(
    parameters: ScoringParameters, values: list[Any]
) -> None:
    names = parameters.model.labels
    labels = [v.format(*names) if isinstance(v, str) else v for v in values]
    labelled = with_rows(parameters, label_column="truth")
    record = score_table(pa.table({"text": ["x", "y", "z"], "truth": labels}), labelled)
    predicted = output("predictions", labelled)["prediction_label"].to_pylist()
    assert record.counts.labelled == 2
    assert record.counts.correct == (predicted[0] == names[0]) + (predicted[1] == names[1])


def test_label_that_the_model_does_not_know_is_counted_and_one_that_is_not_utf8_is_no_error(
    parameters: ScoringParameters,
) -> None:
    labels = pa.array([b"\xff", b"glad", parameters.model.labels[0].encode()]).view(pa.string())
    labelled = with_rows(parameters, label_column="truth")
    record = score_table(pa.table({"text": ["x", "y", "z"], "truth": labels}), labelled)
    assert (record.counts.labelled, record.counts.unknown_labels) == (3, 2)


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
    assert all(record.scores[int(score * 20)] for score in scores)
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
            score(shard, staged, without)
    (file_id,) = (found.id for found in find([str(other)], parameters.output_dir))
    failed = "predictions" if text else "rejected"
    assert not (parameters.output_dir / failed / f"{file_id}-00001.parquet").exists()
    assert not (parameters.output_dir / "records" / f"{file_id}-00001.json").exists()
    again = parameters.output_dir / failed / f"{whole.shard.id}.parquet"
    assert again.read_bytes() == published[again]
    left = [path.name for path in parameters.output_dir.rglob("*") if path.is_file()]
    assert not [name for name in left if "draft" in name]


# What is logged


def test_log_counts_rows_and_quotes_none(
    parameters: ScoringParameters, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    texts: list[Any] = [SECRET, f"{SECRET} 很好看的电影", None, ""]
    record = score_table(pa.table({"text": texts}), parameters)
    assert f"{record.shard.id}: 2 rows scored" in caplog.text
    assert SECRET not in caplog.text
