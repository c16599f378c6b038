"""Ten public data sets, as their shapes are read in training and in scoring."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.common.errors import DataError
from tasks.dataset.inspection import inspect_source
from tasks.dataset.labelled_rows import read_labelled
from tasks.dataset.sources import fetch_tables
from tasks.ingestion.table_reader import read_blocks, survey
from tasks.output.records import RESERVED_COLUMNS
from tasks.output.tables import extract_texts
from tests.support.data_sets import DATA_SETS, START, DataSet

pytestmark = pytest.mark.usefixtures("home")

ROWS = 60


def refusal(place: Path, **columns: Any) -> str:
    with pytest.raises(DataError) as raised:
        read_labelled(fetch_tables(str(place)), **columns)
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    return message


def starts(texts: Iterable[str]) -> list[str]:
    return sorted(re.sub(r"""[;,"']""", "", text[:START]) for text in texts)


@pytest.mark.parametrize("data_set", DATA_SETS, ids=lambda data_set: data_set.name)
def test_training_and_scoring_read_the_same_rows(tmp_path: Path, data_set: DataSet) -> None:
    rows = data_set.rows(ROWS)
    place, options = data_set.write(tmp_path, rows), data_set.options
    tables = fetch_tables(str(place), None, options.encoding)
    trained = read_labelled(
        tables,
        text_column=data_set.text_column,
        label_column=data_set.label_column,
        options=options,
    )
    assert sorted(trained["label"]) == sorted(label for _, label in rows)
    assert starts(trained["text"]) == starts(text for text, _ in rows)
    scored: list[object] = []
    for table in tables:
        text = data_set.text_column
        found = survey(table, {text}, RESERVED_COLUMNS, {text}, options)
        blocks = pa.concat_tables(read_blocks(table, found))
        assert blocks["reason"].null_count == len(blocks)
        scored += extract_texts(blocks, text)
    assert scored == list(trained["text"])


@pytest.mark.parametrize("data_set", DATA_SETS, ids=lambda data_set: data_set.name)
def test_columns_are_found_when_a_project_is_started(tmp_path: Path, data_set: DataSet) -> None:
    place = data_set.write(tmp_path, data_set.rows(ROWS))
    found = inspect_source(str(place), options=data_set.options)
    assert (found.text_column, found.label_column) == (data_set.text_column, data_set.label_column)
    assert found.needed == data_set.options
    assert (found.rows.read, found.rows.kept) == (ROWS, ROWS)


@pytest.mark.parametrize(
    ("name", "columns", "message"),
    [
        ("ag_news", {}, r"is its first line a row\? \(--no-header\)$"),
        ("yelp", {}, r"is its first line a row\? \(--no-header\)$"),
        ("sentiment140", {}, r"not UTF-8; .* expected UTF-8, or --encoding cp1252"),
        (
            "german export",
            {"label_column": "Kategorie"},
            r"not UTF-8; .* expected UTF-8, or --encoding cp1252",
        ),
    ],
)
def test_shape_that_needs_an_option_asks_for_it(
    tmp_path: Path, name: str, columns: dict[str, Any], message: str
) -> None:
    (data_set,) = (data_set for data_set in DATA_SETS if data_set.name == name)
    place = data_set.write(tmp_path, data_set.rows(ROWS))
    assert re.search(message, refusal(place, **columns))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.txt", "i feel low;sadness\n", "if it is a table, its name may end with .csv"),
        ("reviews.xlsx", "PK\3\4", "save the sheet as CSV in UTF-8"),
        ("a/train_text.txt", "a tweet\n", "expected .csv, .tsv, .jsonl, .json or .parquet"),
        (
            "go_emotions.jsonl",
            '{"text": "x", "label": [2, 27]}\n',
            "row 1: the label is of the type list; expected one label a row",
        ),
    ],
)
def test_shape_that_is_no_table_says_what_to_do(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    assert message in refusal(path.parent if "/" in name else path)
