"""What becomes of each row, by its cache, format, language and label."""

import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from tasks.common.files import sha256_of
from tasks.ingestion import parquet_reader
from tasks.lineage.trace import trace_row
from tasks.output.copies import write_copies
from tasks.output.language_policy import LanguagePolicy
from tasks.output.records import ShardRecord
from tasks.scoring.types import ScoringParameters
from tasks.staging import arrow_files
from tests.tasks.scoring.shard_scorer.shards import (
    in_out,
    output,
    score_file,
    score_table,
    with_rows,
)

SECRET = "the-text-of-a-row"


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


# Long texts


def test_long_texts_are_scored_in_parts_and_published_in_order(
    parameters: ScoringParameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"film {number} " * 20 if number % 3 else "" for number in range(40)]
    table = pa.table({"text": texts, "label": ["positive", "negative"] * 20})
    parameters = with_rows(parameters, label_column="label").model_copy(update={"use_cache": False})
    whole = score_table(table, parameters)
    tables = [output(folder, parameters) for folder in ("predictions", "rejected")]
    monkeypatch.setattr(parquet_reader, "_BATCH_BYTES", 1_000)
    monkeypatch.setattr(arrow_files, "_PART_BYTES", 2_000)
    parts = score_table(table, parameters)
    assert [output(folder, parameters) for folder in ("predictions", "rejected")] == tables
    assert parts.counts == whole.counts
    assert (parts.labels, parts.reasons, parts.languages) == (
        whole.labels,
        whole.reasons,
        whole.languages,
    )


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


def test_predictions_below_a_score_are_marked_and_written_to_be_labelled(
    parameters: ScoringParameters,
) -> None:
    texts = [f"{'great ' * (row % 7)}film {row}{' so awful' * (row % 5)}" for row in range(12)]
    table = pa.table({"id": range(12), "text": texts, "tags": [["a"]] * 12})
    score_table(table, parameters)
    scores = output("predictions", parameters)["prediction_score"].to_pylist()
    below = sorted(scores)[6]
    reviewing = with_rows(parameters, review_below=below)
    record = score_table(table, reviewing)
    predictions = output("predictions", reviewing)
    assert predictions.column_names[-1] == "needs_review"
    marked = [score < below for score in scores]
    assert predictions["needs_review"].to_pylist() == marked
    assert record.counts.needs_review == sum(marked) == 6
    path = reviewing.output_dir / "review" / f"{record.shard.id}.csv"
    assert record.files["review"] == sha256_of(path)
    review = pd.read_csv(path)
    place = ["shard", "row", "prediction_label", "prediction_score"]
    assert list(review) == [*table.column_names, *place, "reviewed_label"]
    assert review["id"].tolist() == [row for row, is_marked in enumerate(marked) if is_marked]
    assert review["reviewed_label"].isna().all()
    assert review["tags"].tolist() == ['["a"]'] * 6

    # Of a run for Excel with decimal commas, they are for it as well.
    score_table(table, reviewing.model_copy(update={"output_format": "csv-semicolon"}))
    assert pd.read_csv(path, sep=";", decimal=",").equals(review)

    # Labels that people gave are no copy of anything.
    path.write_text("reviewed_label\npositive\n")
    again = score_table(table, parameters)
    (kept,) = path.parent.iterdir()
    assert kept.name.startswith(f"{record.shard.id}.changed-")
    assert kept.read_text() == "reviewed_label\npositive\n"
    assert "review" not in again.files
    assert "needs_review" not in output("predictions", parameters).column_names


def test_the_probability_of_each_label_is_written_where_it_is_asked_for(
    parameters: ScoringParameters, tmp_path: Path
) -> None:
    table = pa.table({"text": [f"{tmp_path} one", f"{tmp_path} two", ""]})
    score_table(table, parameters)
    asking = with_rows(parameters, all_scores=True, review_below=1.0)
    record = score_table(table, asking)
    assert record.counts.model_calls == 2  # the stored answers have one score each
    predictions = output("predictions", asking)
    assert predictions.column_names[-2:] == ["prediction_scores", "needs_review"]
    for row in predictions.to_pylist():
        scores = dict(row["prediction_scores"])
        assert set(scores) == set(parameters.model.labels)
        assert max(scores, key=lambda label: scores[label]) == row["prediction_label"]
        assert scores[row["prediction_label"]] == row["prediction_score"]
        assert sum(scores.values()) == pytest.approx(1)
    review = pd.read_csv(asking.output_dir / "review" / f"{record.shard.id}.csv")
    assert "prediction_scores" not in review
    copied = write_copies(asking.output_dir, record, "jsonl")
    path = asking.output_dir / "predictions_jsonl" / f"{copied.shard.id}.jsonl"
    (first, _) = [json.loads(line) for line in path.read_text().splitlines()]
    assert first["prediction_scores"] == dict(predictions["prediction_scores"][0].as_py())
    chain = trace_row(asking.output_dir, record.shard.id, 1, verify=True)
    assert chain["prediction_scores"] == first["prediction_scores"]
    assert score_table(table, parameters).counts.cached == 2


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


@pytest.mark.parametrize(
    ("names", "cells"),
    [
        (("1.0", "2.0", "3.0"), "1.0 2.0 3.0"),
        (("0.5", "1.0", "1.5"), "0.5 1.0 1.5"),
        (("1", "2", "3"), "1.0 2.0 3.0"),
        (("False", "True"), "True False True"),
        (("false", "true"), "true false true"),
    ],
)
def test_labels_of_a_csv_are_known_whatever_type_its_column_gets(
    parameters: ScoringParameters, tmp_path: Path, names: tuple[str, ...], cells: str
) -> None:
    path = tmp_path / "rows.csv"
    rows = [f"film {row}, {cell} \n" for row, cell in enumerate(cells.split())]
    plain = [row.replace(" \n", "\n").replace(", ", ",") for row in rows]
    model = parameters.model.model_copy(update={"labels": names})
    labelled = with_rows(parameters, label_column="truth").model_copy(update={"model": model})
    for lines in (rows, plain):
        path.write_text("".join(["text,truth\n", *lines, "another film,\n"]))
        counts = score_file(path, labelled).counts
        assert (counts.labelled, counts.unknown_labels) == (3, 0)


def test_predictions_that_equal_their_labels_are_correct(
    parameters: ScoringParameters, tmp_path: Path
) -> None:
    path, labelled = tmp_path / "rows.csv", with_rows(parameters, label_column="truth")
    path.write_text("text,truth\none film,\nanother film, \n")
    counts = score_file(path, labelled).counts
    assert (counts.labelled, counts.correct) == (0, 0)
    predicted = output("predictions", labelled)["prediction_label"].to_pylist()
    path.write_text(f"text,truth\none film, {predicted[0]} \nanother film,{predicted[1]}\n")
    counts = score_file(path, labelled).counts
    assert (counts.labelled, counts.correct) == (2, 2)


def test_label_that_the_model_does_not_know_is_counted_and_one_that_is_not_utf8_is_no_error(
    parameters: ScoringParameters,
) -> None:
    labels = pa.array([b"\xff", b"glad", parameters.model.labels[0].encode()]).view(pa.string())
    labelled = with_rows(parameters, label_column="truth")
    record = score_table(pa.table({"text": ["x", "y", "z"], "truth": labels}), labelled)
    assert (record.counts.labelled, record.counts.unknown_labels) == (3, 2)


# What is logged


def test_log_counts_rows_and_quotes_none(
    parameters: ScoringParameters, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    texts: list[Any] = [SECRET, f"{SECRET} 很好看的电影", None, ""]
    record = score_table(pa.table({"text": texts}), parameters)
    assert f"{record.shard.id}: 2 rows scored" in caplog.text
    assert SECRET not in caplog.text
