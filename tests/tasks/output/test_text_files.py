"""CSV and JSONL have every value of a table, and are read as such by others."""

import csv
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from tasks.ingestion.formats import format_of
from tasks.ingestion.text_format import AS_FOUND, find_text_format
from tasks.output.text_files import CopyFormat, write_text

ROWS = pa.table(
    {
        "id": pa.array([1, None, 2**62], pa.int64()),
        "text": ['She said "no",\nand left', "", None],
        "formula": ["=HYPERLINK(1)", "+1", "@a"],
        "seen": pa.array([datetime(2026, 1, 2, tzinfo=UTC), None, None]),
        "day": pa.array([2**30, 1, None], pa.int32()).view(pa.date32()),
        "price": pa.array([Decimal("1.50"), None, None]),
        "score": [0.1, float("nan"), None],
        "kind": pa.array(["007", None, "NA"]).dictionary_encode(),
        "view": pa.array(["é", None, "很好"], pa.string_view()),
        "tags": [{"of": ["x", None]}, None, {"of": [date(2026, 1, 1).isoformat()]}],
        "raw": pa.array([b"\xff", None, b"a"]),
        "broken": pa.array([b"a\xffb", None, b"c"]).cast(pa.binary()).view(pa.string()),
        "marks": pa.array(
            [[("a", 0.5), ("é", 0.25)], None, []], pa.map_(pa.string(), pa.float64())
        ),
        "none": pa.nulls(3),
    }
)


def written(path: Path, text_format: CopyFormat, rows: pa.Table = ROWS) -> Path:
    write_text([rows.slice(0, 2), rows.slice(2)], rows.schema, path, text_format)
    return path


def test_csv_has_every_value_and_tells_null_from_empty(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.csv", "csv")
    with path.open(encoding="utf-8", newline="") as file:
        first, second, third = csv.DictReader(file)
    assert list(first) == ROWS.column_names
    assert first["text"] == ROWS["text"][0].as_py()
    assert (first["id"], second["id"], third["id"]) == ("1", "", str(2**62))
    assert [row["formula"] for row in (first, second, third)] == ROWS["formula"].to_pylist()
    assert (first["kind"], third["kind"], third["view"]) == ("007", "NA", "很好")
    assert (first["seen"], first["price"]) == ("2026-01-02 00:00:00.000000Z", "1.50")
    assert (first["score"], second["score"], second["day"]) == ("0.1", "nan", "1970-01-02")
    assert json.loads(first["tags"]) == {"of": ["x", None]}
    assert (json.loads(first["marks"]), second["marks"]) == ({"a": 0.5, "é": 0.25}, "")
    assert first["broken"] == "a\N{REPLACEMENT CHARACTER}b"
    assert path.read_text(encoding="utf-8").splitlines()[3].startswith(',"","+1",,')
    assert pd.read_csv(path)["formula"].tolist() == ROWS["formula"].to_pylist()


def test_csv_of_semicolons_opens_in_a_spreadsheet_with_decimal_commas(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.csv", "csv-semicolon")
    assert path.read_bytes().startswith("\ufeff".encode())  # else Excel takes it for CP1252
    form = format_of(path.name)
    assert form is not None
    assert find_text_format(path, form, AS_FOUND).separator == ";"  # as input it needs no option
    with path.open(encoding="utf-8-sig", newline="") as file:
        first, second, third = csv.DictReader(file, delimiter=";")
    assert list(first) == ROWS.column_names
    assert first["text"] == ROWS["text"][0].as_py()
    # Excel takes 1.50 for the first of May where the decimal sign is a comma.
    assert (first["score"], first["price"], third["id"]) == ("0,1", "1,50", str(2**62))
    assert (second["score"], third["score"], first["kind"]) == ("nan", "", "007")
    assert json.loads(first["marks"]) == {"a": 0.5, "é": 0.25}
    table = pd.read_csv(path, sep=";", decimal=",")
    assert table["score"][0] == 0.1


def test_jsonl_has_an_object_a_line_with_every_value(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", "jsonl")
    lines = path.read_text(encoding="utf-8").splitlines()
    first, second, third = (json.loads(line) for line in lines)
    assert list(first) == ROWS.column_names
    assert (first["id"], second["id"], third["id"]) == (1, None, 2**62)
    assert (first["text"], second["text"], third["text"]) == (ROWS["text"][0].as_py(), "", None)
    assert (first["seen"], first["price"]) == ("2026-01-02 00:00:00.000000Z", "1.50")
    assert (first["score"], second["score"], second["day"]) == (0.1, None, "1970-01-02")
    assert first["tags"] == {"of": ["x", None]}
    assert [row["marks"] for row in (first, second, third)] == [{"a": 0.5, "é": 0.25}, None, {}]
    assert first["broken"] == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize(("text_format", "lines"), [("csv", 1), ("csv-semicolon", 1), ("jsonl", 0)])
def test_table_without_rows_has_its_columns_in_csv_alone(
    tmp_path: Path, text_format: CopyFormat, lines: int
) -> None:
    path = written(tmp_path / "rows", text_format, ROWS.slice(0, 0))
    assert len(path.read_text(encoding="utf-8").splitlines()) == lines
