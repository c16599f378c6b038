import json
import logging
import random
from decimal import Context, Decimal
from itertools import pairwise
from math import isinf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tasks.common.errors import DataError
from tasks.dataset.labels import label_text
from tasks.ingestion import jsonl_reader
from tasks.ingestion.table_reader import empty_block, read_blocks, read_columns, survey

SECRET = "the-text-of-a-row"
LARGEST = 2**63 - 1

unicode = st.text(st.characters(exclude_categories=["Cs"]))
integers = st.integers() | st.integers(-LARGEST - 1, LARGEST) | st.just(2**53 + 1)
finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | integers | finite | unicode
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("abc") | unicode, inner, max_size=3)
    ),
    max_leaves=8,
)
# So that columns have a common type now and then.
alike = st.sampled_from(
    [st.booleans(), st.integers(-9, 9), st.integers(-9, 9) | finite, unicode, values]
).flatmap(lambda kind: st.lists(st.none() | kind | st.lists(kind), min_size=1, max_size=6))


def read(path: Path, texts: tuple[str, ...] = (), block_rows: int = 1_000) -> pa.Table:
    found = survey(path, (), (), texts)
    blocks = list(read_blocks(path, found, block_rows))
    assert all(1 <= block.num_rows <= block_rows for block in blocks)
    assert found.rows == sum(block.num_rows for block in blocks)
    return pa.concat_tables([empty_block(found), *blocks])


def read_lines(content: bytes, texts: tuple[str, ...] = (), block_rows: int = 1_000) -> pa.Table:
    with TemporaryDirectory() as folder:
        path = Path(folder, "rows.jsonl")
        path.write_bytes(content)
        return read(path, texts, block_rows)


def read_rows(rows: list[dict[str, Any]], block_rows: int = 2) -> pa.Table:
    lines = [json.dumps(row) for row in rows]
    return read_lines("\n".join(lines).encode(), block_rows=block_rows)


def read_column(column: list[Any]) -> pa.ChunkedArray:
    return read_rows([{"x": value} for value in column])["x"]


# What goes in comes out


def is_same(value: Any, found: Any) -> bool:
    if isinstance(value, dict):
        inner = found.items() if isinstance(found, dict) else ()
        return set(value) <= set(found) and all(is_same(value.get(k), v) for k, v in inner)
    if isinstance(value, list):
        return len(value) == len(found) and all(map(is_same, value, found))
    return bool(value == found) and isinstance(value, bool) == isinstance(found, bool)


def says_the_same(value: Any, found: Any, kind: pa.DataType) -> bool:
    if kind == pa.string() and value is not None and not isinstance(value, str):
        return is_same(value, json.loads(found)) and type(json.loads(found)) is type(value)
    return is_same(value, found)


@given(
    rows=st.lists(st.dictionaries(st.sampled_from("xyz") | unicode, values, max_size=4)),
    escaped=st.booleans(),
    line_break=st.sampled_from(["\n", "\r\n", "\n\n", "\n \t\r\n"]),
    mark=st.booleans(),
    block_rows=st.integers(1, 5),
)
def test_values_come_back_in_order_with_their_lines(
    rows: list[dict[str, Any]], escaped: bool, line_break: str, mark: bool, block_rows: int
) -> None:
    rows = [
        {k: v for k, v in row.items() if k not in {"row", "line", "raw", "step", "reason"}}
        for row in rows
    ]
    lines = [json.dumps(row, ensure_ascii=escaped) for row in rows]
    content = ("\ufeff" if mark else "") + line_break.join(lines)
    table = read_lines(content.encode(), block_rows=block_rows)
    names = list(dict.fromkeys(key for row in rows for key in row))
    assert table.column_names == [*names, "row", "line", "raw", "step", "reason"]
    for name in names:
        kind = table.schema.field(name).type
        for row, found in zip(rows, table[name].to_pylist(), strict=True):
            assert says_the_same(row.get(name), found, kind)
    step = line_break.count("\n")
    assert table["row"].to_pylist() == list(range(1, len(rows) + 1))
    assert table["line"].to_pylist() == list(range(1, len(rows) * step + 1, step))
    assert table["reason"].null_count == len(rows)


@given(alike)
def test_columns_of_any_type_go_into_parquet_and_back(column: list[Any]) -> None:
    table = read_rows([{"x": value} for value in column])
    for value, found in zip(column, table["x"].to_pylist(), strict=True):
        assert says_the_same(value, found, table.schema.field("x").type)
    with TemporaryDirectory() as folder:
        path = Path(folder, "rows.parquet")
        pq.write_table(table, path)
        assert pq.read_table(path).to_pylist() == table.to_pylist()


@pytest.mark.parametrize("column", [[0.1, 1e300, -5e-324], [10**15, 0.5], [2**53, -(2**53), 0.5]])
def test_numbers_come_back_to_the_last_bit(column: list[float]) -> None:
    assert read_column(column).to_pylist() == column


# Types over the whole file


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ([1, None, LARGEST], pa.int64()),
        ([None, 2**53, 0.5], pa.float64()),
        ([2**53 + 1, 0.5], pa.string()),
        ([LARGEST + 1], pa.string()),
        ([True, None], pa.bool_()),
        ([True, 1], pa.string()),
        (["2026-01-01", "2026-01-01T00:00:00Z"], pa.string()),
        (["a", 1], pa.string()),
        ([None, None], pa.null()),
        ([[], [1], [0.5, None]], pa.list_(pa.float64())),
        ([[], None], pa.list_(pa.null())),
        ([[1], ["a"]], pa.string()),
        ([[1], 1], pa.string()),
        ([{"a": 1}, {"b": [True]}], pa.struct([("a", pa.int64()), ("b", pa.list_(pa.bool_()))])),
        ([{}, {"a": 1}], pa.struct([("a", pa.int64())])),
        ([{"a": 1}, {"a": "b"}], pa.string()),
        ([{}], pa.string()),
        ([[{}]], pa.string()),
    ],
)
def test_common_type_of_values(column: list[Any], kind: pa.DataType) -> None:
    assert read_column(column).type == kind
    random.Random(0).shuffle(column)
    assert read_column(column * 3).type.num_fields == kind.num_fields


def test_values_without_common_type_travel_as_text_and_the_log_says_how_many(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows: list[dict[str, Any]] = [
        {SECRET: 1, "b": "x"},
        {SECRET: "é", "b": {"é": [None]}},
        {SECRET: None, "c": 1},
    ]
    with caplog.at_level(logging.INFO):
        table = read_rows(rows)
    assert table[SECRET].to_pylist() == ["1", "é", None]
    assert table["b"].to_pylist() == ["x", '{"é": [null]}', None]
    messages = [record.getMessage() for record in caplog.records]
    (line,) = [message for message in messages if "are read as text" in message]
    assert "2 columns" in line
    assert SECRET not in line


def test_objects_used_as_maps_do_not_become_ever_more_columns() -> None:
    rows = [{"x": {f"key {number}": {"n": number}}} for number in range(3_000)]
    table = read_rows(rows, block_rows=1_000)
    assert table["x"].type == pa.string()
    assert [json.loads(x) for x in table["x"].to_pylist()] == [row["x"] for row in rows]


def test_deep_values_travel_as_text_and_deeper_ones_are_rejected() -> None:
    for depth, kind in ((10, pa.list_), (60, pa.string), (198, pa.string)):
        value: Any = 1
        for _ in range(depth):
            value = [value]
        column = read_column([value])
        assert isinstance(column.type, type(kind(pa.int64()) if kind is pa.list_ else kind()))
        found = column.to_pylist()[0]
        assert (json.loads(found) if isinstance(found, str) else found) == value


def test_too_many_different_keys_are_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl_reader, "MAX_COLUMNS", 5)
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(f'{{"{SECRET} {number}": 1}}' for number in range(6)))
    with pytest.raises(DataError, match="more than 5 different keys") as error:
        survey(path, (), ())
    assert str(error.value).startswith(f"{path}: ")
    assert SECRET not in str(error.value)


# The text column


def test_other_values_among_texts_are_rejected_with_their_columns_kept() -> None:
    odd = [("int", 1), ("float", 0.5), ("bool", True), ("list", ["a"]), ("object", {"a": 1})]
    rows = [{"text": "a", "n": 0}, *({"text": value, "n": 1} for _, value in odd), {"text": None}]
    content = "\n".join(map(json.dumps, rows)).encode()
    table = read_lines(content, texts=("text",))
    assert table["reason"].to_pylist() == [None, *(f"not text but {kind}" for kind, _ in odd), None]
    assert table["step"].to_pylist() == [None, *["read"] * 5, None]
    assert table["raw"].null_count == 7
    assert table["n"].to_pylist() == [0, 1, 1, 1, 1, 1, None]
    assert table["text"].to_pylist() == ["a", "1", "0.5", "true", '["a"]', '{"a": 1}', None]
    assert table.schema.field("text").metadata is None
    assert read_lines(content)["reason"].null_count == 7


def test_text_column_of_one_other_type_keeps_it() -> None:
    table = read_lines(b'{"text": 1}\n{"text": null}\n{"text": 3}', texts=("text",))
    assert table["text"].to_pylist() == [1, None, 3]
    assert table["reason"].null_count == 3


def test_what_python_writes_for_numbers_that_json_lacks_is_read() -> None:
    table = read_lines(b'{"x": NaN, "y": "a"}\n{"x": 1, "y": NaN}\n{"x": -Infinity, "y": 2}\n')
    assert table["reason"].null_count == 3
    assert str(table["x"].to_pylist()) == "[nan, 1.0, -inf]"
    assert table["y"].to_pylist() == ["a", None, "2"]
    texts = read_lines(b'{"text": "a"}\n{"text": NaN}\n{"text": 2.5}\n', texts=("text",))
    assert texts["text"].to_pylist() == ["a", None, "2.5"]
    assert texts["reason"].to_pylist() == [None, None, "not text but float"]


EXACT = [
    "12345678901234567890.123",
    "0.1234567890123456789",
    "1e-400",
    "-1E-400",
    "5.1e-324",
    "1.00000000000000000001e5",
    "0.10000000000000000000000001",
    "9007199254740993.0",
    str(2**64),
    str(-(10**40)),
]
DOUBLES = ["0.1", "1.10", "1e5", "0.0", "-0.0", "1e-320", "0.10000000000000001", "1.5e300"]


@pytest.mark.parametrize("number", EXACT)
def test_number_that_no_type_holds_is_text_as_it_is_written(number: str) -> None:
    table = read_lines(f'{{"x": {number}, "y": [{{"z": {number}}}]}}\n{{"x": 1.5}}'.encode())
    assert table["x"].to_pylist() == [number, "1.5"]
    assert table["y"].to_pylist() == [f'[{{"z": {number}}}]', None]
    assert table["reason"].null_count == 2


@pytest.mark.parametrize("number", DOUBLES)
def test_number_that_a_double_holds_is_one(number: str) -> None:
    table = read_lines(f'{{"x": {number}}}'.encode())
    assert table["x"].type == pa.float64()
    assert repr(table["x"].to_pylist()) == repr([float(number)])


@given(finite, st.integers(1, 17))
def test_digits_that_programs_write_for_doubles_make_doubles(number: float, digits: int) -> None:
    for text in (repr(number), f"{number:.17g}", f"{float(f'{number:.{digits}g}'):.{digits}g}"):
        table = read_lines(f'{{"x": {text}}}\n{{"x": 0.5}}'.encode())
        is_integer = text.lstrip("-").isdigit()
        if not is_integer and not isinf(float(text)):
            assert table["x"].to_pylist() == [float(text), 0.5]


@given(st.decimals(allow_nan=False, allow_infinity=False))
@example(Decimal("1e-400"))
def test_no_digit_of_a_number_is_lost(number: Decimal) -> None:
    assume(abs(number) < Decimal("1e308") and number.adjusted() > -4_300)
    table = read_lines(f'{{"x": {number}, "y": 0}}'.encode())
    found = table["x"][0].as_py()
    if isinstance(found, float):
        written = Context(prec=len(number.as_tuple().digits)).create_decimal_from_float(found)
        assert number in (written, Decimal(repr(found)))
    else:
        assert Decimal(found) == number


def test_text_that_is_a_long_number_is_rejected() -> None:
    content = b'{"text": "a"}\n{"text": 12345678901234567890.123}\n'
    table = read_lines(content, texts=("text",))
    assert table["reason"].to_pylist() == [None, "not text but float"]


def test_labels_that_differ_in_digits_beyond_a_double_stay_different(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"label": 0.1234567890123456789}\n{"label": 0.1234567890123456788}\n')
    rows = list(read_columns(path, lambda names: ["label"]))
    assert [label_text(row.values[0]) for row in rows] == [
        "0.1234567890123456789",
        "0.1234567890123456788",
    ]


# Malformed rows

MALFORMED = {
    b"\xff": "not UTF-8",
    b'{"x": "\xed\xa0\x80"}': "not UTF-8",
    b"{": "not JSON",
    b'{"x": 1}}': "not JSON",
    b'{"x": 1} {"x": 2}': "not JSON",
    b"{'x': 1}": "not JSON",
    b'{"x": nan}': "not JSON",
    b'{"x": -NaN}': "not JSON",
    b'{"x": "a\tb"}': "not JSON",
    "\ufeff{}".encode(): "not JSON",
    b"null": "not an object",
    b"[{}]": "not an object",
    b'"{}"': "not an object",
    b'{"x": "\\ud800"}': "a lone surrogate",
    b'{"x": ["\\udc00\\ud800"]}': "a lone surrogate",
    b'{"\\uDfff": 1}': "a lone surrogate",
    b'{"x": 1, "x": 2}': "a key twice in one object",
    b'{"x": {"y": 1, "y": 1}}': "a key twice in one object",
    b'{"x": 1e999}': "a number that is too large",
    b'{"x": 1e-999999999}': "a number that is too small",
    b'{"x": 1e-99999999999999999999}': "a number that is too small",
    b'{"x": 1' + b"0" * 5_000 + b"}": "a number that is too large",
    b'{"x": ' + b"[" * 200 + b"]" * 200 + b"}": "nested too deeply",
    b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}": "nested too deeply",
}
GOOD = {b'{"x": 1}': 1, b' {"x": 2, "y": "\\ud83d\\ude00 \\\\ud800"} ': 2, b'{"x": null}': None}


@given(
    lines=st.lists(st.sampled_from([*MALFORMED, *GOOD]), min_size=1, max_size=9),
    line_break=st.sampled_from([b"\n", b"\r\n"]),
    last=st.booleans(),
    block_rows=st.integers(1, 5),
)
def test_malformed_rows_keep_their_place_and_their_bytes(
    lines: list[bytes], line_break: bytes, last: bool, block_rows: int
) -> None:
    content = line_break.join([b'{"x": 0}', *lines]) + (line_break if last else b"")
    table = read_lines(content, block_rows=block_rows).slice(1)
    assert table["x"].to_pylist() == [GOOD.get(line) for line in lines]
    assert table["line"].to_pylist() == list(range(2, len(lines) + 2))
    assert table["raw"].to_pylist() == [line if line in MALFORMED else None for line in lines]
    assert table["reason"].to_pylist() == [MALFORMED.get(line) for line in lines]
    assert table["step"].to_pylist() == ["read" if line in MALFORMED else None for line in lines]


@pytest.mark.parametrize("line", MALFORMED)
def test_each_malformed_line_has_its_reason(line: bytes) -> None:
    table = read_lines(b"{}\n" + line + b"\n{}")
    assert table["reason"].to_pylist() == [None, MALFORMED[line], None]
    assert table.column_names == ["row", "line", "raw", "step", "reason"]


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n\t\n", "\ufeff".encode()])
def test_empty_file_is_a_table_without_rows_and_columns(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    found = survey(path, ("text",), ())
    assert found.rows == 0
    assert found.arrow_schema.names == []
    assert list(read_blocks(path, found)) == []


def test_columns_stand_as_they_first_appear() -> None:
    table = read_rows([{"b": 1}, {}, {"c": 1, "b": 2}, {"a": 1}])
    assert table.column_names[:3] == ["b", "c", "a"]
    assert all(a < b for a, b in pairwise(table["row"].to_pylist()))
