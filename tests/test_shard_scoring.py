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

from tasks.answers import ask, load_pipeline
from tasks.errors import DataError, ModelError
from tasks.scoring import PREDICTION_COLUMNS, REJECTED_COLUMNS, ScoringParameters, ShardResult
from tasks.shard_scoring import read_shard, score
from tasks.shards import find
from tests.builders import Trained

SECRET = "the-text-of-a-row"


@pytest.fixture
def parameters(trained: Trained, tmp_path: Path) -> ScoringParameters:
    model_uri = trained.pipeline["inference_pipeline_model"]
    return ScoringParameters(model_uri=model_uri, output_dir=tmp_path / "out")


def score_file(path: Path, parameters: ScoringParameters) -> ShardResult:
    (shard,) = find([str(path)])
    return score(shard, parameters)


def score_table(table: pa.Table, parameters: ScoringParameters) -> ShardResult:
    path = parameters.output_dir.parent / "rows.parquet"
    pq.write_table(table, path)
    return score_file(path, parameters)


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
    result = score_table(MIXED, parameters)
    for folder, rows in (("predictions", [1, 3, 5]), ("rejected", [2, 4])):
        table = output(folder, parameters)
        assert table["row"].to_pylist() == rows
        assert set(table["shard"].to_pylist()) == {result.id}
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
    result = score_table(pa.table({"text": ["", "fine", None, "\n\t"]}), parameters)
    assert (result.rows_in, result.scored, result.rejected) == (4, 1, 3)
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
    result = score_table(pa.table({"text": values}), parameters)
    assert (result.rows_in, result.scored, result.rejected) == (2, 0, 2)
    assert output("rejected", parameters)["reason"].to_pylist() == [reason, reason]
    assert output("predictions", parameters).num_rows == 0


def test_table_without_rows_is_published(parameters: ScoringParameters) -> None:
    result = score_table(MIXED.slice(0, 0), parameters)
    assert (result.rows_in, result.scored, result.rejected) == (0, 0, 0)
    assert output("predictions", parameters).num_rows == 0


def test_each_row_has_its_own_answer(parameters: ScoringParameters) -> None:
    texts = [f"{'great ' * (row % 7)}film {row}{' so awful' * (row % 5)}" for row in range(24)]
    score_table(pa.table({"text": texts}), parameters)
    predictions = output("predictions", parameters)
    model = load_pipeline(parameters.model_uri)
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


def test_another_column_can_hold_the_texts(parameters: ScoringParameters) -> None:
    named = parameters.model_copy(update={"text_column": "body"})
    result = score_table(pa.table({"text": [1], "body": ["a great film"]}), named)
    assert result.scored == 1
    assert output("predictions", named).column_names[:2] == ["text", "body"]


# The cache


def counts(result: ShardResult) -> tuple[int, int]:
    return result.scored, result.cache_hits


def test_repeats_and_later_runs_are_served_from_the_cache(
    parameters: ScoringParameters, tmp_path: Path
) -> None:
    texts = [f"{tmp_path} one", f"{tmp_path} two", f"{tmp_path} one", ""]
    table = pa.table({"text": texts})
    without = parameters.model_copy(update={"use_cache": False})
    assert counts(score_table(table, without)) == (3, 0)
    assert counts(score_table(table, parameters)) == (3, 1)
    assert output("predictions", parameters)["cached"].to_pylist() == [False, False, True]
    cold = output("predictions", parameters).drop_columns(["cached"])
    assert counts(score_table(table, parameters)) == (3, 3)
    assert output("predictions", parameters)["cached"].to_pylist() == [True, True, True]
    assert output("predictions", parameters).drop_columns(["cached"]).equals(cold)
    assert counts(score_table(table, without)) == (3, 0)


def test_result_counts_labels_and_languages(parameters: ScoringParameters) -> None:
    result = score_table(pa.table({"text": ["This film is great", "很好看的电影", ""]}), parameters)
    assert result.languages == {"en": 1, "zh": 1}
    assert sum(result.labels.values()) == 2


# What CSV and JSONL cells say

CELLS = "text,plain,zeros,na,due,empty,big,hex,ratio,flag,day\n"


def test_csv_cells_get_a_type_only_if_it_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(
        CELLS
        + "007,1,007,NA,2026-01-01,,12345678901234567890,0x1F,0.50,true,2026-01-01\n"
        + "NA,,8,NA,NA,,1,1,,false,\n"
    )
    table = read_shard(path, "text")
    types = dict(zip(table.column_names, map(str, table.schema.types), strict=True))
    assert types == {
        "text": "string",
        "plain": "int64",
        "zeros": "string",
        "na": "string",
        "due": "string",
        "empty": "string",
        "big": "string",
        "hex": "string",
        "ratio": "double",
        "flag": "bool",
        "day": "date32[day]",
    }
    assert table.drop_columns(["ratio", "flag", "day"]).to_pylist() == [
        {
            "text": "007",
            "plain": 1,
            "zeros": "007",
            "na": "NA",
            "due": "2026-01-01",
            "empty": "",
            "big": "12345678901234567890",
            "hex": "0x1F",
        },
        {
            "text": "NA",
            "plain": None,
            "zeros": "8",
            "na": "NA",
            "due": "NA",
            "empty": "",
            "big": "1",
            "hex": "1",
        },
    ]


def test_jsonl_texts_that_look_like_times_stay_texts(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 1, "text": "2026-01-01"}\n{"id": null, "text": "2026-01-02"}\n')
    table = read_shard(path, "text")
    assert table.to_pylist() == [
        {"id": 1, "text": "2026-01-01"},
        {"id": None, "text": "2026-01-02"},
    ]


def test_missing_key_of_a_jsonl_row_is_null(tmp_path: Path, parameters: ScoringParameters) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 1}\n\n{"id": 2, "text": "a film"}\n')
    result = score_file(path, parameters)
    assert (result.rows_in, result.scored, result.rejected) == (2, 1, 1)
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


# Files that are refused


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["body"], "no column 'text' among its 1; name one with text_column"),
        (["text", "row", "cached"], "the columns ['cached', 'row'] are reserved; expected other"),
        (["text", "reason"], "the columns ['reason'] are reserved; expected other names"),
    ],
)
def test_missing_and_reserved_columns_are_named(
    parameters: ScoringParameters, columns: list[str], message: str
) -> None:
    with pytest.raises(DataError) as raised:
        score_table(pa.table({column: [SECRET] for column in columns}), parameters)
    assert str(raised.value).startswith(
        f"{parameters.output_dir.parent / 'rows.parquet'}: {message}"
    )
    assert not parameters.output_dir.exists()


@pytest.mark.parametrize("column", sorted({*PREDICTION_COLUMNS, *REJECTED_COLUMNS}))
def test_every_column_of_the_contract_is_reserved(tmp_path: Path, column: str) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["a"], column: ["b"]}), path)
    with pytest.raises(DataError, match=rf"\['{column}'\] are reserved"):
        read_shard(path, "text")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", f"text,id\na,1\n{SECRET},2,3\n", "row 2: number of cells 3; expected 2"),
        ("rows.csv", f"text,id\na,1\n{SECRET}\n", "row 2: number of cells 1; expected 2"),
        ("rows.jsonl", f'{{"text": "{SECRET}"}}\n{{"text": "{SECRET}\n', "in row 2"),
        ("rows.jsonl", f'{{"text": "{SECRET}"}}\n{{"text": 1}}\n', "string to number in row 2"),
        ("rows.parquet", SECRET, "expected a PARQUET table"),
    ],
)
def test_broken_file_is_named_with_its_row_and_without_its_text(
    parameters: ScoringParameters, tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as raised:
        score_file(tmp_path / name, parameters)
    error: BaseException | None = raised.value
    assert str(error).startswith(f"{tmp_path / name}: ")
    assert message in str(error)
    while error is not None:  # Prefect logs the causes as well
        assert SECRET not in repr(error)
        error = error.__cause__
    assert not parameters.output_dir.exists()


def test_text_that_is_not_utf8_is_refused_without_quoting_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    broken = pa.array([SECRET.encode() + b"\xff"]).cast(pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": broken}), path)
    with pytest.raises(DataError, match="Invalid UTF8") as raised:
        read_shard(path, "text")
    assert SECRET not in repr(raised.value.__cause__)


def test_missing_model_is_named(parameters: ScoringParameters) -> None:
    missing = parameters.model_copy(update={"model_uri": "models:/inference_pipeline_model/99"})
    with pytest.raises(ModelError, match="inference_pipeline_model/99: cannot be loaded"):
        score_table(MIXED, missing)


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
    noise = [random.Random(row).randbytes(20_000) for row in range(4)]
    table = pa.table({"text": pa.array([text] * 4, pa.string()), "noise": noise})
    whole = score_table(table, parameters)
    published = {path: path.read_bytes() for path in parameters.output_dir.rglob("*.parquet")}
    other = tmp_path / "other.parquet"
    pq.write_table(table.slice(0, 3), other)
    without = parameters.model_copy(update={"use_cache": False})
    for file in (other, tmp_path / "rows.parquet"):
        with files_end_at(40_000), pytest.raises(OSError, match="File too large"):
            score_file(file, without)
    (shard,) = find([str(other)])
    failed = "predictions" if text else "rejected"
    assert not (parameters.output_dir / failed / f"{shard.id}.parquet").exists()
    again = parameters.output_dir / failed / f"{whole.id}.parquet"
    assert again.read_bytes() == published[again]
    left = [path.name for path in parameters.output_dir.rglob("*") if path.is_file()]
    assert not [name for name in left if "draft" in name]


# What is logged


def test_log_counts_rows_and_quotes_none(
    parameters: ScoringParameters, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    texts: list[Any] = [SECRET, f"{SECRET} 很好看的电影", None, ""]
    result = score_table(pa.table({"text": texts}), parameters)
    assert f"{result.id}: 2 rows scored" in caplog.text
    assert SECRET not in caplog.text
