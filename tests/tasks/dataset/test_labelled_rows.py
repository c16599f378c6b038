import csv
import gzip
import json
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyfunc.pipeline import MAX_CHARACTERS, refusal_reason
from tasks.common.errors import DataError, ParameterError
from tasks.dataset.labelled_rows import RowTally, read_labelled
from tasks.dataset.labels import order_labels
from tasks.dataset.types import LabelledData
from tasks.ingestion.table_reader import read_blocks, survey
from tasks.ingestion.text_format import ReadOptions

ROWS = [("a great film", "positive"), ('an "awful", long film', "negative")]
SECRET = "the-text-of-a-row"

texts = st.text(st.characters(exclude_categories=["Cs"])).filter(
    lambda text: not refusal_reason(text)
)


def as_separated(rows: list[tuple[str, str]], separator: str) -> bytes:
    frame = pd.DataFrame(rows, columns=["text", "label"])
    return frame.to_csv(index=False, sep=separator, quoting=csv.QUOTE_ALL).encode()


def as_jsonl(rows: list[tuple[str, str]]) -> bytes:
    lines = (json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
    return "".join(lines).encode()


def as_parquet(rows: list[tuple[str, str]]) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table({"text": [row[0] for row in rows], "label": [row[1] for row in rows]})
    pq.write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


WRITERS: dict[str, Callable[[list[tuple[str, str]]], bytes]] = {
    ".csv": lambda rows: as_separated(rows, ","),
    ".tsv": lambda rows: as_separated(rows, "\t"),
    ".jsonl": as_jsonl,
    ".parquet": as_parquet,
}


def pairs(rows: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(rows["text"], rows["label"], strict=True))


def saved(folder: Path, content: bytes | str, suffix: str = ".csv") -> Path:
    path = folder / f"reviews{suffix}"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def traceback_of(error: BaseException) -> list[str]:
    """Return what a log has of an error: the lines of this file, which quote the tests, apart."""
    shown = traceback.TracebackException.from_exception(error, lookup_lines=False)
    return [line for line in shown.format() if not line.startswith('  File "')]


def refusal(path: Path, label_names: tuple[str, ...] = (), **columns: Any) -> str:
    """Return the message, having seen that it is one line that starts with the file."""
    with pytest.raises(DataError) as raised:
        read_labelled([path], label_names=label_names, **columns)
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1
    assert SECRET not in str(traceback_of(raised.value))
    return message.removeprefix(f"{path}: ")


# What is read


@pytest.mark.parametrize("suffix", [*WRITERS, ".CSV", ".Parquet"])
def test_each_kind_of_table_is_read(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path, WRITERS[suffix.lower()](ROWS), suffix)
    assert pairs(read_labelled([path])) == ROWS


@pytest.mark.parametrize("suffix", WRITERS)
@settings(max_examples=40)
@given(rows=st.lists(texts, min_size=1))
def test_every_text_is_read_as_it_was_written(suffix: str, rows: list[str]) -> None:
    labelled = [(text, f"label {number % 2}") for number, text in enumerate([*rows, "more"])]
    with TemporaryDirectory() as folder:
        path = saved(Path(folder), WRITERS[suffix](labelled), suffix)
        assert pairs(read_labelled([path])) == labelled


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize(
    ("ending", "compress"), [(".gz", gzip.compress), (".zst", pa.Codec("zstd").compress)]
)
def test_compressed_tables_are_read(
    tmp_path: Path, suffix: str, ending: str, compress: Callable[[bytes], bytes]
) -> None:
    path = saved(tmp_path, bytes(compress(WRITERS[suffix](ROWS))), suffix + ending)
    assert pairs(read_labelled([path])) == ROWS


def test_other_columns_may_hold_anything(tmp_path: Path) -> None:
    mixed = [1, "x", {"a": [1, "b"]}, None]
    lines = [
        {"text": f"film {row}", "label": row % 2, "reason": value, "row": value}
        for row, value in enumerate(mixed)
    ]
    path = saved(tmp_path, "".join(json.dumps(line) + "\n" for line in lines), ".jsonl")
    assert pairs(read_labelled([path])) == [(f"film {row}", str(row % 2)) for row in range(4)]
    path = saved(tmp_path, "raw,text,line,label\n1,good,x,p\ny,bad,,n\n")
    assert pairs(read_labelled([path])) == [("good", "p"), ("bad", "n")]


def test_text_of_a_parquet_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    texts = pa.array([b"good", b"bad \xff"]).cast(pa.binary()).view(pa.string())
    path = tmp_path / "reviews.parquet"
    pq.write_table(pa.table({"text": texts, "label": ["x", "y"]}), path)
    assert refusal(path) == "row 2: the text is not UTF-8; expected UTF-8"


def test_columns_of_the_original_project_are_accepted(tmp_path: Path) -> None:
    path = saved(tmp_path, "review,sentiment\ngood,positive\nbad,negative\n")
    assert pairs(read_labelled([path])) == [("good", "positive"), ("bad", "negative")]


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = saved(tmp_path, "text,label,body,stars\nx,y,good,5\nx,y,bad,1\n")
    rows = read_labelled([path], text_column="body", label_column="stars")
    assert pairs(rows) == [("good", "5"), ("bad", "1")]


def test_label_names_may_be_names_or_ids_in_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path, "text,label\na,0\nb,positive\nc,1\nd,negative\n")
    rows = read_labelled([path], label_names=("negative", "positive"))
    assert list(rows["label"]) == ["negative", "positive", "positive", "negative"]


@pytest.mark.parametrize("ids", [pa.array([0, 1]), pa.array([0.0, 1.0]), pa.array(["0", "1"])])
def test_ids_of_any_type_stand_for_names(tmp_path: Path, ids: pa.Array) -> None:
    path = tmp_path / "reviews.parquet"
    pq.write_table(pa.table({"text": ["a", "b"], "label": ids}), path)
    rows = read_labelled([path], label_names=("negative", "positive"))
    assert list(rows["label"]) == ["negative", "positive"]


def test_names_that_are_numbers_stay_names(tmp_path: Path) -> None:
    path = saved(tmp_path, "text,label\na,1\nb,0\n")
    assert list(read_labelled([path], label_names=("1", "0"))["label"]) == ["1", "0"]


def test_more_than_two_labels_are_read(tmp_path: Path) -> None:
    path = saved(tmp_path, "text,label\na,sad\nb,glad\nc,mad\n")
    rows = read_labelled([path])
    assert order_labels(rows["label"].unique()) == ("glad", "mad", "sad")


def test_numbers_as_labels_are_ordered_by_value(tmp_path: Path) -> None:
    path = saved(tmp_path, "text,label\na,10\nb,9\nc,1\n")
    assert order_labels(read_labelled([path])["label"]) == ("1", "9", "10")


@pytest.mark.parametrize("suffix", WRITERS)
def test_texts_that_look_like_values_stay_texts(tmp_path: Path, suffix: str) -> None:
    rows = [("NA", "None"), ("None", "NA"), ("007", "null"), ("1.50", "007"), ("2026-01-01", "x")]
    assert pairs(read_labelled([saved(tmp_path, WRITERS[suffix](rows), suffix)])) == rows


def test_a_mark_at_the_start_of_a_file_is_no_part_of_its_first_column(tmp_path: Path) -> None:
    path = saved(tmp_path, "\ufefftext,label\na,x\nb,y\n")
    assert pairs(read_labelled([path])) == [("a", "x"), ("b", "y")]


def test_files_follow_each_other_in_the_order_given(tmp_path: Path) -> None:
    paths = []
    for name, label in (("b", "x"), ("a", "y")):
        (tmp_path / name).mkdir()
        paths.append(saved(tmp_path / name, f"text,label\n{name},{label}\n"))
    assert pairs(read_labelled(paths)) == [("b", "x"), ("a", "y")]


# Training reads what scoring reads

TWO = [("a film", "x"), ("b film", "y")]


@pytest.mark.parametrize(
    ("suffix", "content", "columns"),
    [
        (".csv", "text,label,,,\na film,x,,,\nb film,y,,,\n,,,,\n", "column_3 column_4 column_5"),
        (".csv", ",text,label,,column_4\n1,a film,x,,\n2,b film,y,,\n", "column_1 column_4_"),
        (".csv", "text,label,id\ra film,x,1\rb film,y,2\r", "id"),
        (".tsv", "text\tlabel\tid\ra film\tx\t1\rb film\ty\t2", "id"),
        (".csv.gz", "text,label,id\ra film,x,1\rb film,y,2\r", "id"),
        (".csv", "text,label,id\ra film,x,1\nb film,y,2\r\n", "id"),
        (".csv", "text,label,id\r\na film,x,1\rb film,y,2\n", "id"),
        (".tsv", "text\tlabel\tid\na film\tx\t1\rb film\ty\t2", "id"),
        (".jsonl", '{"text":"a film","label":"x","id":1}\r{"text":"b film","label":"y"}\n', "id"),
        (".jsonl", '{"text":"a film","label":"x","id":NaN}\n{"text":"b film","label":"y"}\n', "id"),
        (".jsonl", '{"text":"a film","label":"x","id":1}\r{"text":"b film","label":"y"}\r', "id"),
        (
            ".jsonl",
            '{"text":"a film","label":"x","id":1}\n{"text":"b film","label":"y","id":"A"}\n',
            "id",
        ),
    ],
)
def test_training_and_scoring_read_the_same_rows(
    tmp_path: Path, suffix: str, content: str, columns: str
) -> None:
    data = gzip.compress(content.encode()) if suffix.endswith(".gz") else content.encode()
    path = saved(tmp_path, data, suffix)
    assert pairs(read_labelled([path])) == TWO
    found = survey(path, {"text", "label"}, (), {"text"})
    (block,) = read_blocks(path, found)
    rows = list(zip(block["text"].to_pylist(), block["label"].to_pylist(), strict=True))
    assert [row for row in rows if row[0]] == TWO
    assert block["reason"].null_count == found.rows == len(rows)
    first = 1 if suffix == ".jsonl" else 2
    assert block["line"].to_pylist() == list(range(first, first + len(rows)))
    assert set(columns.split()) <= set(block.column_names)


# Rows that look wrong, and rows that are set aside


def test_rows_are_counted_and_those_with_neither_text_nor_label_set_aside(tmp_path: Path) -> None:
    csv = saved(tmp_path, "text,label,\ngood,x,\n,,\n \t, ,\nbad,y,1\n\n,,\n")
    jsonl = saved(tmp_path, '{"text":"a","label":"x"}\n{"text":null}\n{"id":1}\n', ".jsonl")
    tally = RowTally()
    rows = read_labelled([csv, jsonl], tally=tally)
    assert pairs(rows) == [("good", "x"), ("bad", "y"), ("a", "x")]
    assert (tally.read, tally.set_aside) == (8, {"neither text nor label": 5})
    bad = saved(tmp_path, "text,label\n,\n,x\n")
    assert refusal(bad).startswith("row 2: the text is empty;")  # numbers count all rows


@pytest.mark.parametrize(
    ("suffix", "content", "row"),
    [
        (".csv", 'text,label,id\na,x,1\n"b,y,2\nc,y,3\nd,x,4\ne",y,5\n', "2 (line 3)"),
        (".tsv", 'text\tlabel\n"a\tx\nb\ty\nc"\ty\nd\tx\n', "1 (line 2)"),
        (".tsv", 'text\tlabel\na\tx\n"b\ty\nc"\ty\n', "2 (line 3)"),
    ],
)
def test_cell_that_holds_whole_lines_is_a_warning_in_training_and_in_scoring(
    tmp_path: Path, suffix: str, content: str, row: str, caplog: pytest.LogCaptureFixture
) -> None:
    path, tally = saved(tmp_path, content, suffix), RowTally()
    read_labelled([path], tally=tally)
    (warning,) = survey(path, {"text"}, ()).warnings
    assert warning.startswith(f"{path}: row {row}: a quoted cell holds whole lines of the table;")
    assert tally.warnings == [warning]
    assert caplog.messages == [warning] * 2


def test_texts_with_line_breaks_are_no_warning(tmp_path: Path) -> None:
    rows = [("Dear all,\n\nit is good,\nreally", "x"), ("one,\ntwo", "y"), ("a\n,\n b\n", "y")]
    for suffix in (".csv", ".tsv"):
        assert (
            survey(saved(tmp_path, WRITERS[suffix](rows[:2]), suffix), {"text"}, ()).warnings == ()
        )


def test_first_rows_are_named_in_a_warning_and_the_others_counted(tmp_path: Path) -> None:
    path = saved(tmp_path, "text\tlabel\n" + '"a\tx\nb"\ty\n' * 5_000, ".tsv")
    (warning,) = survey(path, {"text"}, ()).warnings
    assert ", 9 (line 18), 10 (line 20) and 4990 more: " in warning


# Rows that are refused


@pytest.mark.parametrize(
    ("text", "found"),
    [("", "empty"), (" \t\u00a0", "empty"), (None, "null"), (7, "of the type int")],
)
def test_row_without_a_text_is_named(tmp_path: Path, text: object, found: str) -> None:
    lines = [{"text": SECRET, "label": "x"}] * 2 if isinstance(text, str) or text is None else []
    lines.append({"text": text, "label": "y"})  # type: ignore[dict-item]
    path = saved(tmp_path, "".join(json.dumps(line) + "\n" for line in lines), ".jsonl")
    expected = f"row {len(lines)}: the text is {found}; expected a text with words"
    assert refusal(path) == expected


@pytest.mark.parametrize("suffix", WRITERS)
def test_texts_that_the_pipeline_refuses_are_set_aside_and_counted(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    long = "a" * (MAX_CHARACTERS + 1)
    refused = ["\u200b", "\x00", "\u200b\x00 \u2060", long]
    rows = [*ROWS, *((text, "positive") for text in refused)]
    path = saved(tmp_path, WRITERS[suffix](rows), suffix)
    tally = RowTally()
    assert pairs(read_labelled([path, path], tally=tally)) == ROWS * 2
    assert tally.read == 12
    assert tally.set_aside == {"empty": 6, f"longer than {MAX_CHARACTERS} characters": 2}
    expected = f"{path}: 4 rows are set aside, the first is row 3: the text is empty"
    assert [record.getMessage() for record in caplog.records] == [expected] * 2


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_a_text_that_is_read_is_one_that_the_pipeline_answers(text: str) -> None:
    with TemporaryDirectory() as folder:
        path = saved(Path(folder), as_jsonl([*ROWS, (text, "positive")]), ".jsonl")
        try:
            rows = read_labelled([path])
        except DataError:
            assert refusal_reason(text)
        else:
            assert (text in rows["text"].tolist()) is not bool(refusal_reason(text))


def test_a_file_of_refused_texts_alone_has_no_row(tmp_path: Path) -> None:
    path = saved(tmp_path, as_jsonl([("\u200b", "x"), ("\u200b", "y")]), ".jsonl")
    assert refusal(path) == "no row; expected rows with two labels or more"


def test_row_of_a_csv_without_a_text_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path, f"text,label\n{SECRET},x\n,y\n")
    assert refusal(path) == "row 2: the text is empty; expected a text with words"


def test_empty_cell_of_a_parquet_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "reviews.parquet"
    pq.write_table(pa.table({"text": [SECRET, None], "label": ["x", "y"]}), path)
    assert refusal(path) == "row 2: the text is null; expected a text with words"


def test_unknown_label_is_named_with_its_row_and_what_was_expected(tmp_path: Path) -> None:
    path = saved(tmp_path, f"text,label\n{SECRET},positive\n{SECRET},neutral\n")
    message = refusal(path, ("negative", "positive"))
    assert message == "row 2: the label is unknown; expected one of ['negative', 'positive']"


def test_id_past_the_label_names_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, f"text,label\n{SECRET},1\n{SECRET},2\n")
    assert refusal(path, ("negative", "positive")).startswith("row 2: the label is unknown;")


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (["x", ""], "empty"),
        (["x", " "], "empty"),
        (["x", None], "null"),
        ([1, None], "null"),
        ([1.0, float("nan")], "null"),
        ([["x"], ["y"]], "of the type list"),
    ],
)
def test_row_without_a_label_is_named(tmp_path: Path, labels: list[object], found: str) -> None:
    path = tmp_path / "reviews.parquet"
    pq.write_table(pa.table({"text": [SECRET, SECRET], "label": labels}), path)
    row = 1 if "list" in found else 2
    assert refusal(path) == f"row {row}: the label is {found}; expected one label a row"


def test_no_cell_of_the_label_column_is_quoted(tmp_path: Path) -> None:
    path = saved(tmp_path, f"text,label\n{SECRET},x\n{SECRET},y\n")
    message = refusal(path, ("x", "y"), label_column="text", text_column="label")
    assert message == "row 1: the label is unknown; expected one of ['x', 'y']"
    path = saved(tmp_path, f"text,label\nx,{SECRET}\nx,{SECRET}\n")
    assert refusal(path) == "rows 1 to 2: all have one label; expected two labels or more"


def labelled(labels: Iterable[str]) -> str:
    return "".join(["text,label\n", *(f"a film,{label}\n" for label in labels)])


@pytest.mark.parametrize(
    ("labels", "refused"),
    [
        ([f"{SECRET} {row}" for row in range(1001)] * 3, "1001 different labels in 3003 rows"),
        ([f"{SECRET} {row}" for row in range(21)] + ["x"] * 20, "22 different labels in 41 rows"),
        (["x", SECRET + "a" * 100], "a label of 117 characters"),
    ],
)
def test_a_column_of_texts_is_not_taken_for_labels(
    tmp_path: Path, labels: list[str], refused: str
) -> None:
    message = refusal(saved(tmp_path, labelled(labels)))
    assert message.startswith(f"label_column: {refused}; expected ")
    names = tuple(dict.fromkeys(labels))  # whoever means it names them
    assert len(read_labelled([saved(tmp_path, labelled(labels))], label_names=names)) == len(labels)


def test_many_labels_with_rows_of_each_are_read(tmp_path: Path) -> None:
    for labels in ([f"label {row}" for row in range(1000)] * 2, ["x", "y" * 100], "abcdefghij"):
        assert len(read_labelled([saved(tmp_path, labelled(labels))])) == len(labels)


def test_two_files_of_one_label_each_are_two_labels(tmp_path: Path) -> None:
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text("text,label\na,x\n")
    other.write_text("text,label\nb,y\n")
    assert len(read_labelled([one, other])) == 2
    with pytest.raises(DataError, match=f"^{one}, {one}: rows 1 to 2: all have one label"):
        read_labelled([one, one])


# Files that are refused


@pytest.mark.parametrize(
    ("content", "suffix", "expected"),
    [
        ("", ".csv", "no header line; expected the names of the columns"),
        ("\n\n", ".csv", "no header line; expected the names of the columns"),
        ("text,label\n", ".csv", "no row; expected rows with two labels or more"),
        ("", ".jsonl", "no row; expected rows with two labels or more"),
        ("", ".parquet", "expected a Parquet table"),
        (f"text,label\n{SECRET},x,y\n", ".csv", "row 1 (line 2): 3 cells; expected 2"),
        (f"text,label\na,x\n{SECRET}\n", ".csv", "row 2 (line 3): 1 cells; expected 2"),
        (f'text,label\na,x\n"{SECRET},y\n', ".csv", "row 2 (line 3): a quote that is never closed"),
        (b"text,label\na,x\n" + SECRET.encode() + b"\xff,y\n", ".csv", "row 2 (line 3): not UTF-8"),
        (
            "t\xe9xt,label\na,x\n".encode("cp1252"),
            ".csv",
            "line 1: not UTF-8; expected a header li",
        ),
        (f'{{"text": "{SECRET}"\n', ".jsonl", "row 1 (line 1): not JSON"),
        (f'{{"text":"a","label":1}}\n{{"text":"{SECRET}', ".jsonl", "row 2 (line 2): not JSON"),
        (f'["{SECRET}"]\n', ".jsonl", "row 1 (line 1): not an object"),
        (f'"{SECRET}"\n', ".jsonl", "row 1 (line 1): not an object"),
        (f'{{"text":"{SECRET} \\ud800"}}\n', ".jsonl", "row 1 (line 1): a lone surrogate"),
        (b'{"text":"' + SECRET.encode() + b'\xff"}\n', ".jsonl", "row 1 (line 1): not UTF-8"),
        (
            f'{{"text":"{SECRET}","label":1}}\n{{"text":1}}',
            ".jsonl",
            "row 2: the text is of the type int",
        ),
        (
            f'{{"{SECRET})": 1}}\n{{"{SECRET})": "x"}}\n',
            ".jsonl",
            "no column 'text' or 'review' among",
        ),
        (
            f'{{"{SECRET}": 1, "{SECRET}": 1}}\n',
            ".jsonl",
            "row 1 (line 1): a key twice in one object",
        ),
        ("{}\n", ".jsonl", "no column 'text' or 'review' among its 0"),
        (f"text,label\n{SECRET},x\n", ".parquet", "expected a Parquet table"),
        (as_parquet(ROWS)[:-9], ".parquet", "expected a Parquet table"),
        (f"{SECRET}", ".txt", "unknown kind of file '.txt'; expected .csv, .tsv, .jsonl, "),
        (f"text,text,label\n{SECRET},{SECRET},x\n", ".csv", "the columns [1, 2] share a name"),
    ],
)
def test_file_that_is_no_table_is_named_in_one_line(
    tmp_path: Path, content: bytes | str, suffix: str, expected: str
) -> None:
    assert expected in refusal(saved(tmp_path, content, suffix))


@settings(max_examples=150)
@given(
    content=st.binary(max_size=60)
    | st.text(st.sampled_from('text,label\n"{}:[]\\u\t1\r\ufeff')).map(str.encode),
    suffix=st.sampled_from([*WRITERS, ".json"]),
    options=st.builds(
        ReadOptions,
        separator=st.sampled_from([None, ";", "tab"]),
        encoding=st.sampled_from([None, "utf-16", "shift_jis", "utf-7", "cp1252"]),
        header=st.booleans(),
    ),
)
def test_no_content_of_a_file_brings_another_error(
    content: bytes, suffix: str, options: ReadOptions
) -> None:
    with TemporaryDirectory() as folder:
        path = saved(Path(folder), content, suffix)
        try:
            read_labelled([path], options=options)
        except DataError as error:
            message = str(error)
        else:
            return
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1


_SINGLE = "not JSON; it has single quotes; expected double quotes"
_CLOSING = (
    "a quote that is never closed; expected a closing quote, or the text in quotes with its own "
    "quotes doubled"
)
_LATIN = "not UTF-8; it is probably Latin-1 or Windows-1252; expected UTF-8, or --encoding cp1252"
_ARRAY = "it is an array; expected an object on each line, or one array of objects"


@pytest.mark.parametrize(
    ("suffix", "content", "message"),
    [
        (".jsonl", f'["{SECRET}"]', f"row 1 (line 1): not an object; {_ARRAY}"),
        (
            ".json",
            f'[{{"text": "a", "label": 1}},\n ["{SECRET}"]]',
            f"row 2 (line 2): not an object; {_ARRAY}",
        ),
        (".jsonl", f"{{'text': '{SECRET}'}}", f"row 1 (line 1): {_SINGLE}"),
        (
            ".jsonl",
            '{"text": "a", "label": "x"}\n{"text": "b"},',
            "row 2 (line 2): not JSON; it has a comma after an object; expected the object alone",
        ),
        (".jsonl", f"{SECRET}", "row 1 (line 1): not JSON; expected an object on each line"),
        (
            ".jsonl",
            '{"text": 1, "text": 1}',
            "row 1 (line 1): a key twice in one object; expected each key once",
        ),
        (".csv", "text,label\na,x\nb\xe9,y\n".encode("latin-1"), f"row 2 (line 3): {_LATIN}"),
        (".csv", f'text,label\na,x\n"{SECRET},y\n', f"row 2 (line 3): {_CLOSING}"),
        (
            ".csv",
            f"text,label\n{SECRET};y\n",
            "row 1 (line 2): 1 cells; expected 2; separated by ';'? (--separator ';')",
        ),
        (".csv", f"text,label\n{SECRET}\n", "row 1 (line 2): 1 cells; expected 2"),
        (
            ".csv",
            f"text,label\na,x\n{SECRET}\rb,y\n",
            "row 2 (line 3): a carriage return outside quotes; expected the text in quotes",
        ),
    ],
)
def test_row_that_cannot_be_read_has_its_likely_cause_and_what_was_expected(
    tmp_path: Path, suffix: str, content: bytes | str, message: str
) -> None:
    assert refusal(saved(tmp_path, content, suffix)) == message


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    assert "cannot be read (No such file or directory)" in refusal(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "cannot be read (Is a directory)" in refusal(tmp_path / "folder.csv")


def test_missing_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    path = saved(tmp_path, f"body,label\n{SECRET},x\n")
    expected = "no column 'text' or 'review' among its 2; name one with --text-column"
    assert refusal(path) == expected
    assert "no column 'words'" in refusal(path, text_column="words")
    expected = "no column 'stars' among its 2; name one with --label-column"
    assert refusal(path, text_column="body", label_column="stars") == expected


def test_row_longer_than_a_usual_block_is_read(tmp_path: Path) -> None:
    rows = [("很长 " * 300_000, "x"), ("b", "y")]  # 2 MB in UTF-8
    for suffix in (".csv", ".jsonl"):
        assert pairs(read_labelled([saved(tmp_path, WRITERS[suffix](rows), suffix)])) == rows


def test_one_column_cannot_be_text_and_label() -> None:
    with pytest.raises(ParameterError, match=r"^label_column: 'body' is text_column as well"):
        LabelledData(source="x.csv", text_column="body", label_column="body")


def test_a_missing_header_line_is_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "no_header.csv"
    path.write_text("SECRET words,pos\nSECRET words,pos\n")
    with pytest.raises(DataError, match="no column") as caught:
        read_labelled([path])
    path.write_text("SECRET,SECRET\nmore,more\n")
    with pytest.raises(DataError, match=r"the columns .1, 2. share a name") as twice:
        read_labelled([path])
    assert "SECRET" not in str(caught.value) + str(twice.value)
