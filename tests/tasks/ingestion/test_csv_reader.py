import csv
import gzip
import io
import time
from datetime import date
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.common.errors import DataError
from tasks.ingestion import csv_reader
from tasks.ingestion.table_reader import read_blocks, survey

SECRET = "the-text-of-a-row"

unicode = st.text(st.characters(exclude_categories=["Cs"]))
awkward = st.lists(st.sampled_from(['"', ",", "\t", "\n", "\r", "\r\n", "\0", "a", " ", "é"]))
cells = unicode | awkward.map("".join)


def read(path: Path, texts: tuple[str, ...] = (), block_rows: int = 1_000) -> pa.Table:
    found = survey(path, (), (), texts)
    blocks = list(read_blocks(path, found, block_rows))
    assert all(1 <= block.num_rows <= block_rows for block in blocks)
    assert found.rows == sum(block.num_rows for block in blocks)
    return pa.concat_tables(blocks)


def read_lines(content: bytes, texts: tuple[str, ...] = (), block_rows: int = 1_000) -> pa.Table:
    with TemporaryDirectory() as folder:
        path = Path(folder, "rows.csv")
        path.write_bytes(content)
        return read(path, texts, block_rows)


def read_column(values: list[str]) -> pa.ChunkedArray:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(
        [["x"], *([value] for value in values)]
    )
    return read_lines(buffer.getvalue().encode(), block_rows=2)["x"]


# What goes in comes out


@given(
    rows=st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1)
    ),
    suffix=st.sampled_from([".csv", ".tsv", ".csv.gz"]),
    line_break=st.sampled_from(["\n", "\r\n"]),
    mark=st.booleans(),
    block_rows=st.integers(1, 5),
)
def test_cells_come_back_in_order_with_the_lines_on_which_their_rows_start(
    rows: list[list[str]], suffix: str, line_break: str, mark: bool, block_rows: int
) -> None:
    names = [f"column {number}" for number in range(len(rows[0]))]
    content = "\ufeff" if mark else ""
    starts = []
    for row in [names, *rows]:
        starts.append(content.count("\n") + 1)
        buffer = io.StringIO()
        csv.writer(
            buffer,
            delimiter="\t" if suffix == ".tsv" else ",",
            lineterminator=line_break,
            quoting=csv.QUOTE_ALL,
        ).writerow(row)
        content += buffer.getvalue()
    with TemporaryDirectory() as folder:
        path = Path(folder, f"rows{suffix}")
        data = content.encode()
        path.write_bytes(gzip.compress(data) if suffix.endswith(".gz") else data)
        table = read(path, tuple(names), block_rows)
    assert table.column_names == [*names, "row", "line", "raw", "step", "reason"]
    assert [list(row.values()) for row in table.select(names).to_pylist()] == rows
    assert table["row"].to_pylist() == list(range(1, len(rows) + 1))
    assert table["line"].to_pylist() == starts[1:]
    assert table.select(["raw", "step", "reason"]).to_pylist() == [
        {"raw": None, "step": None, "reason": None}
    ] * len(rows)


def test_blank_lines_are_no_rows_but_an_empty_cell_is_one() -> None:
    table = read_lines(b'\n\r\na\n\n1\n""\n\r\n2')
    assert table["a"].to_pylist() == [1, None, 2]
    assert table["line"].to_pylist() == [5, 6, 8]


def test_malformed_row_of_a_file_with_carriage_returns_has_its_line_and_bytes() -> None:
    table = read_lines(b'a,b\r1,2\r\r3\r"4\rx",5\r')
    assert table["line"].to_pylist() == [2, 4, 5]
    assert table["raw"].to_pylist() == [None, b"3", None]
    assert table["a"].to_pylist() == ["1", None, "4\rx"]


# Line ends of several kinds in one file

MIXED = "mixed line ends, of which this row has another than those before; expected LF or CRLF"


@pytest.mark.parametrize(
    ("content", "first", "lines"),
    [
        (b"x,y\n1,a\r2,b\r3,c\n4,d\r\n", 1, [2, 3, 4, 5]),
        (b"x,y\r1,a\r2,b\n3,c\n4,d\r\n", 2, [2, 3, 4, 5]),
        (b"x,y\r\n1,a\n2,b\r3,c\r\r\n4,d", 2, [2, 3, 4, 5]),
        (b'x,y\n1,a\n2,b\n3,"c"\r4,"d"\n', 3, [2, 3, 4, 5]),
        (b"x,y\r" + b"1,a\r" * 5_000 + b"2,b\n3,c\r\n", 5_001, [*range(2, 5_004)]),
        (b"x,y\n" + b"1,a\n" * 5_000 + b"2,b\r3,c\r", 5_001, [*range(2, 5_004)]),
    ],
)
def test_each_kind_of_line_end_ends_a_row_and_the_first_other_one_is_a_warning(
    tmp_path: Path, content: bytes, first: int, lines: list[int]
) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    (warning,) = survey(path, (), ()).warnings
    assert warning == f"{path}: row {first} (line {lines[first - 1]}): {MIXED}"
    table = read(path)
    assert table["line"].to_pylist() == lines
    assert table["reason"].null_count == len(lines)
    assert all(table["x"].to_pylist())


@given(
    rows=st.lists(st.tuples(cells, cells), min_size=1),
    ends=st.lists(st.sampled_from(["\n", "\r", "\r\n", "\r\r\n"]), min_size=1),
    suffix=st.sampled_from([".csv", ".tsv"]),
)
def test_no_mixture_of_line_ends_changes_a_cell(
    rows: list[tuple[str, str]], ends: list[str], suffix: str
) -> None:
    buffer = io.StringIO()
    for number, row in enumerate([("x", "y"), *rows]):
        csv.writer(
            buffer,
            delimiter="\t" if suffix == ".tsv" else ",",
            lineterminator=ends[number % len(ends)],
            quoting=csv.QUOTE_ALL,
        ).writerow(row)
    with TemporaryDirectory() as folder:
        path = Path(folder, f"rows{suffix}")
        path.write_bytes(buffer.getvalue().encode())
        table = read(path, ("x", "y"))
    assert [tuple(row.values()) for row in table.select(["x", "y"]).to_pylist()] == rows
    assert table["reason"].null_count == len(rows)


@pytest.mark.parametrize(
    ("content", "rejected"),
    [
        # A row that a line end of another kind cuts stays one row.
        (b"x,y\n1,a\n2\r,b\n3,c\n", [(2, b"2\r,b", "a carriage return outside quotes")]),
        (b"x,y\n1,a\n2\rb\n3,c\n", [(2, b"2\rb", "a carriage return outside quotes")]),
        (b"x,y\r1,a\r2\n,b\r3,c\r", [(2, b"2\n,b", "a line feed outside quotes")]),
        # Where both kinds end rows, a row that cannot be read takes no other with it.
        (b"x,y\n1,a\r2\r3,c\r4,d\n", [(2, b"2", "1 cells; expected 2")]),
        (b"x,y\n1,a\r2\xff,b\r3,c\n", [(2, b"2\xff,b", "not UTF-8")]),
        (b'x,y\n1,a\r"2" ,b\r3,c\n', [(2, b'"2" ,b', "text after a closing quote")]),
        (b'x,y\n1,a\r"2,b\r3,c\r4,d\n', [(2, b'"2,b', "a quote that is never closed")]),
        # A carriage return within quotes that ends no row of the file ends no line either.
        (b'x,y\n1,a\n"2\r" ,b\n3,c\n', [(2, b'"2\r" ,b', "text after a closing quote")]),
        (b'x,y\n1,a\n"2\rb\n3,c\n', [(2, b'"2\rb', "a quote that is never closed")]),
        # The row that shows the second kind of end has too many cells.
        (b"x,y\n1,a\n2,b,c\r3,c\r4,d\n", [(2, b"2,b,c", "3 cells; expected 2")]),
    ],
)
def test_row_that_cannot_be_read_has_its_own_bytes_among_line_ends_of_any_kind(
    content: bytes, rejected: list[tuple[int, bytes, str]]
) -> None:
    table = read_lines(content, ("x", "y"))
    rows = [row for row in table.to_pylist() if row["reason"]]
    assert [(row["row"], row["raw"], row["reason"]) for row in rows] == rejected
    kept = [(row["x"], row["y"]) for row in table.to_pylist() if not row["reason"]]
    assert kept == [
        pair for pair in [("1", "a"), ("3", "c"), ("4", "d")] if pair[1] in str(content)
    ]
    assert len(kept) >= 2


# Types


def test_columns_get_types_over_the_whole_file() -> None:
    early = "1,1.25,true,True,2026-02-28,,1,1,1,true,2026-01-01\n" * 3_000
    late = "-9223372036854775808,0.5,false,False,,,1.5,,NA,True,2026-02-30\n"
    table = read_lines(("i,f,b,c,d,e,g,h,j,k,l\n" + early + late).encode())
    types = {field.name: str(field.type) for field in table.schema}
    assert {name: types[name] for name in "ifbcdeghjkl"} == {
        "i": "int64",
        "f": "double",
        "b": "bool",
        "c": "bool",
        "d": "date32[day]",
        "e": "string",
        "g": "string",
        "h": "int64",
        "j": "string",
        "k": "string",
        "l": "string",
    }
    assert table.slice(3_000).select(list("ifbcdeghjkl")).to_pylist() == [
        {
            "i": -(2**63),
            "f": 0.5,
            "b": False,
            "c": False,
            "d": None,
            "e": "",
            "g": "1.5",
            "h": None,
            "j": "NA",
            "k": "True",
            "l": "2026-02-30",
        }
    ]


UNTYPED = """
NA None null nan inf yes tRUE 007 00.5 +49 1e5 0x1F -0x1 1_000 1. .5 - 1,5 １ 9223372036854775808
0.12345678901234567890 1.10 10.00 -0 -0.50 0.0000001
0000-01-01 -001-01-01 2026-02-30 2026-1-1 2026-01-01T00:00:00
"""


@pytest.mark.parametrize(
    "cell", [*UNTYPED.split(), " 1", "1 ", "1\n", "0." + "0" * 400 + "1", "1" * 400]
)
def test_cell_that_no_type_gives_back_is_text(cell: str) -> None:
    column = read_column(["", cell])
    assert column.type == pa.string()
    assert column.to_pylist() == ["", cell]


TYPED = {
    "0": 0,
    "-1": -1,
    "9223372036854775807": 2**63 - 1,
    "0.5": 0.5,
    "-0.5": -0.5,
    "3.0": 3.0,
    "123456789012.345": 123456789012.345,
    "0.1234567890123456": 0.1234567890123456,
    "TRUE": True,
    "False": False,
    "0001-01-01": date.min,
    "9999-12-31": date.max,
}


@pytest.mark.parametrize(("cell", "value"), TYPED.items())
def test_cell_that_a_type_gives_back_has_it(cell: str, value: object) -> None:
    column = read_column([cell, "", cell])
    assert column.to_pylist() == [value, None, value]
    assert type(column.to_pylist()[0]) is type(value)


plain = st.sampled_from(["", "1", "-2", "3.50", "0", "-0", "true", "false", "TRUE", "2026-01-01"])
numbers = st.integers().map(str) | st.decimals(allow_nan=False, allow_infinity=False).map(
    "{:f}".format
)


@given(st.lists(plain | numbers | st.dates().map(str), min_size=1) | st.lists(plain, min_size=1))
@example(["9007199254740993", "0.5"])
@example(["1.10", "1.1"])
def test_types_change_no_cell(values: list[str]) -> None:
    column = read_column(values)
    if column.type == pa.string():
        assert column.to_pylist() == values
        return
    for cell, value in zip(values, column.to_pylist(), strict=True):
        assert says_the_same(cell, value)


def says_the_same(cell: str, value: Any) -> bool:
    if value is None:
        return cell == ""
    if isinstance(value, float):
        return Decimal(cell) == Decimal(repr(value))
    return cell == str(value) or (isinstance(value, bool) and cell.title() == str(value))


def test_named_columns_are_text_whatever_they_look_like() -> None:
    table = read_lines(b"a,b\n1,1\n,\n", texts=("a",))
    assert table["a"].to_pylist() == ["1", ""]
    assert table["b"].to_pylist() == [1, None]


def test_malformed_rows_do_not_bear_on_types() -> None:
    table = read_lines(b'a,b\n1,2\nx\n"x,y\n3,4\n')
    assert table["a"].to_pylist() == [1, None, None, 3]
    assert table.schema.field("b").type == pa.int64()


# Malformed rows

MALFORMED = {
    b"a": "1 cells; expected 2",
    b"a,b,c": "3 cells; expected 2",
    b'"a\nb",c,d': "3 cells; expected 2",
    b"\xff,b": "not UTF-8",
    b'"a\n\xc3",b': "not UTF-8",
    b"\xed\xa0\x80,b": "not UTF-8",
    b'"a,b': "a quote that is never closed",
    b'"a"b,c': "text after a closing quote",
    b'a,"b" ': "text after a closing quote",
    b"a\rb,c": "a carriage return outside quotes",
}
GOOD = {b"a,b": ("a", "b"), b'"c\nd",e': ("c\nd", "e"), "é\0,".encode(): ("é\0", "")}


@given(
    # A file without one good row is refused as a whole.
    lines=st.lists(st.sampled_from([*MALFORMED, *GOOD]), min_size=1).filter(GOOD.keys().__and__),
    line_break=st.sampled_from([b"\n", b"\r\n"]),
    last=st.booleans(),
    block_rows=st.integers(1, 5),
)
def test_malformed_rows_keep_their_place_and_their_bytes(
    lines: list[bytes], line_break: bytes, last: bool, block_rows: int
) -> None:
    content = line_break.join([b"x,y", *lines]) + (line_break if last else b"")
    table = read_lines(content, ("x", "y"), block_rows)
    expected = []
    start = 2
    for number, line in enumerate(lines, start=1):
        x, y = GOOD.get(line, (None, None))
        reason = MALFORMED.get(line)
        # In context a quote is closed by the next one, before a letter.
        if line == b'"a,b' and any(b'"' in later for later in lines[number:]):
            reason = "text after a closing quote"
        expected.append(
            {
                "x": x,
                "y": y,
                "row": number,
                "line": start,
                "raw": line if reason else None,
                "step": "read" if reason else None,
                "reason": reason,
            }
        )
        start += 1 + line.count(b"\n")
    assert table.to_pylist() == expected


def test_unclosed_quote_in_a_large_file_loses_its_line_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    line = b"a text that has no quotes" * 10 + b",1\n"
    around = 80_000
    path.write_bytes(b"x,y\n" + line * around + b'"lost,1\n' + line * around)
    started = time.monotonic()
    found = survey(path, (), ())
    rejected = [
        row
        for block in read_blocks(path, found)
        for row in block.filter(block["reason"].is_valid()).to_pylist()
    ]
    assert found.rows == 2 * around + 1
    assert [(row["row"], row["line"], row["raw"]) for row in rejected] == [
        (around + 1, around + 2, b'"lost,1')
    ]
    assert time.monotonic() - started < 30


def test_file_of_unclosed_quotes_is_refused_in_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_reader, "MAX_RECORD_BYTES", 2**16)
    monkeypatch.setattr(csv_reader, "_FREE_REREAD_BYTES", 2**20)
    path = tmp_path / "rows.csv"
    path.write_bytes(b"x,y\n" + b'x","y\n' * 100_000)
    with pytest.raises(DataError, match="too many quotes that are never closed") as error:
        survey(path, (), ())
    assert str(path) in str(error.value)


def test_unclosed_quotes_far_apart_are_read_past(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_reader, "MAX_RECORD_BYTES", 2**10)
    monkeypatch.setattr(csv_reader, "_FREE_REREAD_BYTES", 2**10)
    path = tmp_path / "rows.csv"
    path.write_bytes(b"x,y\n" + (b'"x,y\n' + b"x,y\n" * 300) * 100)
    assert survey(path, (), ()).rows == 301 * 100


def test_cells_of_ten_million_characters_are_read_and_longer_than_16_mebi_rejected(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rows.csv"
    longest = 2**24
    path.write_bytes(
        b"x,y\n"
        + b"a" * 10_000_000
        + b",b\n"
        + b"c" * longest
        + b",d\n"
        + b"e" * (longest + 1)
        + b",f\nlast,g\n"
    )
    table = read(path)
    lengths = [len(x) if x else None for x in table["x"].to_pylist()]
    assert lengths == [10_000_000, longest, None, 4]
    assert table["reason"].to_pylist()[2] == "a cell longer than 16777216 characters"
    assert table["raw"].to_pylist()[2] == b"e" * (longest + 1) + b",f"


def test_lower_limit_of_another_module_does_not_hold() -> None:
    before = csv.field_size_limit(10)
    try:
        assert read_lines(b"x\n" + b"a" * 100)["x"].to_pylist() == ["a" * 100]
        assert csv.field_size_limit() >= 10_000_000
    finally:
        csv.field_size_limit(before)


# The header line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no header line"),
        (b"\n\r\n", "no header line"),
        ("\ufeff".encode(), "no header line"),
        (b"\xffx,y\n1,2\n", "line 1: not UTF-8"),
        (SECRET.encode("utf-16") + b"\x00", "line 1: not utf-16-le"),
        (b'"%s\n1,2\n' % SECRET.encode(), "line 1: a quote that is never closed"),
    ],
)
def test_header_line_must_be_there(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        survey(path, (), ())
    assert str(error.value).startswith(f"{path}: ")
    assert SECRET not in str(error.value)


def test_table_of_a_header_alone_has_no_blocks(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"x,y\n\n")
    found = survey(path, ("x",), ())
    assert found.rows == 0
    assert found.arrow_schema.names == ["x", "y"]
    assert list(read_blocks(path, found)) == []
