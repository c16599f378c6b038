"""Separators, encodings and header lines, found or given, in training and in scoring."""

import gzip
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.common.errors import DataError, ParameterError
from tasks.dataset.labelled_rows import read_labelled
from tasks.ingestion.compression import MAX_LINE_BYTES
from tasks.ingestion.table_reader import read_blocks, survey
from tasks.ingestion.text_format import AS_FOUND, ReadOptions

pytestmark = pytest.mark.usefixtures("home")

ROWS = [("Schöne Grüße, Müller", "ja"), ("1,50 € zu viel; ärgerlich", "nein"), ('"kurz"', "ja")]


def as_table(rows: Sequence[Sequence[str]], separator: str, end: str = "\n") -> str:
    cells = (['"' + cell.replace('"', '""') + '"' for cell in row] for row in rows)
    return "".join(separator.join(row) + end for row in cells)


def saved(folder: Path, content: str | bytes, name: str = "rows.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def trained(path: Path, options: ReadOptions, **columns: Any) -> list[tuple[str, str]]:
    rows = read_labelled([path], options=options, **columns)
    return list(zip(rows["text"], rows["label"], strict=True))


def scored(path: Path, options: ReadOptions, text: str = "text") -> pa.Table:
    found = survey(path, {text}, (), {text}, options)
    return pa.concat_tables(read_blocks(path, found))


def check_both(path: Path, options: ReadOptions = AS_FOUND, first_line: int = 2) -> None:
    """Check that training and scoring read `ROWS`."""
    assert trained(path, options) == ROWS
    table = scored(path, options)
    assert list(zip(*table.select(["text", "label"]).to_pydict().values(), strict=True)) == ROWS
    assert table["line"].to_pylist() == [first_line, first_line + 1, first_line + 2]


# Separators


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separator_is_found_outside_of_quotes(tmp_path: Path, separator: str, end: str) -> None:
    check_both(saved(tmp_path, as_table([("text", "label"), *ROWS], separator, end)))


def test_separator_is_found_in_a_compressed_file_and_behind_a_mark(tmp_path: Path) -> None:
    content = as_table([("text", "label"), *ROWS], ";").encode("utf-8-sig")
    check_both(saved(tmp_path, gzip.compress(content), "rows.csv.gz"))


@pytest.mark.parametrize("line", ["sep=;\n", "sep=;\r\n", "SEP=;\r", '"sep=;"\n', "\ufeffsep=;\n"])
def test_first_line_that_names_the_separator_is_no_row(tmp_path: Path, line: str) -> None:
    content = line + as_table([("text", "label"), *ROWS], ";")
    check_both(saved(tmp_path, content), first_line=3)


def test_a_header_line_with_a_comma_is_one_of_commas(tmp_path: Path) -> None:
    path = saved(tmp_path, "text,label;rank\na,b;c\nd,e;f\n")
    assert scored(path, ReadOptions()).column_names[:2] == ["text", "label;rank"]


def test_separator_within_names_of_commas_is_asked_for(tmp_path: Path) -> None:
    path = saved(tmp_path, "text;price, net;label\na;1,50;x\n")
    for read in (lambda: survey(path, {"text"}, ()), lambda: read_labelled([path])):
        with pytest.raises(DataError, match=r"; separated by ';'\? \(--separator ';'\)$"):
            read()
    assert scored(path, ReadOptions(separator=";"))["price, net"].to_pylist() == ["1,50"]


@pytest.mark.parametrize(
    "content",
    [
        "text\na; b\nc\nd|e\n",
        "text; or words\nwith none\nand none\n",  # of the rows, no cell has one
        "text\n",
    ],
)
def test_a_table_of_one_column_stays_one(tmp_path: Path, content: str) -> None:
    path = saved(tmp_path, content)
    assert survey(path, (), ()).arrow_schema.names == [content.partition("\n")[0]]


def test_one_row_of_another_width_does_not_hide_the_separator(tmp_path: Path) -> None:
    path = saved(tmp_path, "text;label\na;x\nb;y\nc;d;x\n")
    assert scored(path, ReadOptions())["reason"].to_pylist() == [
        *(None, None, "3 cells; expected 2")
    ]


def test_what_is_found_does_not_depend_on_the_end_of_the_sample(tmp_path: Path) -> None:
    rows = [("text", "label"), *[("w " * 7_000 + str(n), "a") for n in range(30)]]
    path = saved(tmp_path, as_table(rows, ";"))
    assert scored(path, ReadOptions()).num_rows == 30


def test_tab_separates_a_tsv_whatever_else_its_header_has(tmp_path: Path) -> None:
    path = saved(tmp_path, "text\tlabel;rank\na\tb;c\n", "rows.tsv")
    assert scored(path, ReadOptions()).column_names[:2] == ["text", "label;rank"]


@pytest.mark.parametrize("given", ["^", "tab", r"\t", ";"])
def test_a_given_separator_wins(tmp_path: Path, given: str) -> None:
    separator = "\t" if given in ("tab", r"\t") else given
    path = saved(tmp_path, "sep=,\n" + as_table([("text", "label"), *ROWS], separator))
    check_both(path, ReadOptions(separator=given), first_line=3)


@pytest.mark.parametrize("given", ["", ";;", "a", '"', "\n", "tabs", "_"])
def test_what_cannot_separate_is_refused_before_a_run(given: str) -> None:
    with pytest.raises(ParameterError, match=r"^separator: .*; expected one character that is no"):
        ReadOptions(separator=given)


# Encodings


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("given", [None, "cp1252"])
def test_byte_order_mark_tells_the_encoding(
    tmp_path: Path, encoding: str, given: str | None
) -> None:
    content = as_table([("text", "label"), *ROWS], ";", "\r\n").encode(encoding)
    check_both(saved(tmp_path, content), ReadOptions(encoding=given))


@pytest.mark.parametrize(
    "encoding", ["cp1252", "iso-8859-15", "utf-16-le", "utf-16-be", "utf-16", "cp1140", "gb18030"]
)
def test_encoding_is_given(tmp_path: Path, encoding: str) -> None:
    byte_order = "utf-16-le" if encoding == "utf-16" else encoding
    content = as_table([("text", "label"), *ROWS], ",").encode(byte_order)
    check_both(saved(tmp_path, content), ReadOptions(encoding=encoding))


def test_encoding_of_json(tmp_path: Path) -> None:
    lines = '{"text": "Grüße", "label": 1}\n{"text": "€", "label": 2}\n'
    for name, content in (("a.jsonl", lines), ("b.json", f"[{lines.replace('}', '},', 1)}]")):
        path = saved(tmp_path, content.encode("cp1252"), name)
        assert trained(path, ReadOptions(encoding="cp1252")) == [("Grüße", "1"), ("€", "2")]


@pytest.mark.parametrize(
    ("encoding", "bad", "named"),
    [
        ("cp1252", b"caf\xe9 \x81", "cp1252"),
        ("utf-16-le", "café ".encode("utf-16-le") + b"\x01\xdc", "utf-16-le"),
        ("shift_jis", b"\x83J \xc3\xa9\x81", "shift_jis"),
        ("ascii", b"caf\xe9", "ascii"),
    ],
)
def test_row_that_the_encoding_does_not_have_is_rejected_with_its_bytes(
    tmp_path: Path, encoding: str, bad: bytes, named: str
) -> None:
    def encoded(text: str) -> bytes:
        return text.encode(encoding)

    content = encoded("text,label\ngood,x\n") + bad + encoded(",y\nbetter,x\nthree,cells,x\n")
    path = saved(tmp_path, content)
    options = ReadOptions(encoding=encoding)
    table = scored(path, options)
    assert table["text"].to_pylist() == ["good", None, "better", None]
    assert table["reason"].to_pylist() == [None, f"not {named}", None, "3 cells; expected 2"]
    assert table["raw"].to_pylist() == [None, bad + encoded(",y"), None, encoded("three,cells,x")]
    assert table["line"].to_pylist() == [2, 3, 4, 5]
    message = f"row 2 (line 3): not {named}; expected another encoding in --encoding"
    with pytest.raises(DataError, match=re.escape(message)):
        trained(path, options)


def test_characters_over_the_ends_of_blocks_are_whole(tmp_path: Path) -> None:
    rows = [("text", "label"), *[("🎬" * 99_999 + str(n), "ja") for n in range(9)]]
    for encoding in ("utf-16", "gb18030"):
        path = saved(tmp_path, as_table(rows, ",").encode(encoding))
        assert path.stat().st_size > 3 * 2**20
        assert scored(path, ReadOptions(encoding=encoding))["text"].to_pylist() == [
            text for text, _ in rows[1:]
        ]


def test_line_without_an_end_is_refused_in_another_encoding_too(tmp_path: Path) -> None:
    path = saved(tmp_path, b"text,label\n" + b"\xe9" * (MAX_LINE_BYTES // 2 + 1))
    with pytest.raises(DataError, match="line 2 is longer than"):
        scored(path, ReadOptions(encoding="latin-1"))


@pytest.mark.parametrize("name", ["utf9", "", "hex", "rot13", "unicode_escape", "idna", "a\0b"])
def test_what_is_no_encoding_is_refused_before_a_run(name: str) -> None:
    with pytest.raises(ParameterError, match="is no text encoding of Python; expected one such"):
        ReadOptions(encoding=name)


def test_file_in_another_encoding_asks_for_it(tmp_path: Path) -> None:
    path = saved(tmp_path, "text,label\nschön,ja\nüber,nein\n".encode("cp1252"))
    message = "no row can be read, the first (line 2): not UTF-8; it is probably Latin-1 or "
    with pytest.raises(DataError, match=re.escape(message) + ".* --encoding cp1252$"):
        survey(path, {"text"}, ())


# Header lines and names


def test_without_a_header_line_columns_have_numbers(tmp_path: Path) -> None:
    options = ReadOptions(header=False)
    for separator in ",;|\t":
        path = saved(tmp_path, as_table(ROWS, separator))
        table = scored(path, options, "column_1")
        assert table.column_names[:2] == ["column_1", "column_2"]
        assert table["line"].to_pylist() == [1, 2, 3]
        columns = {"text_column": "column_1", "label_column": "column_2"}
        assert trained(path, options, **columns) == ROWS


def test_without_a_header_line_the_separator_fits_the_rows(tmp_path: Path) -> None:
    path = saved(tmp_path, "good, really;pos\nbad;neg\nfine, well, yes;pos\n")
    table = scored(path, ReadOptions(header=False), "column_2")
    assert table["column_2"].to_pylist() == ["pos", "neg", "pos"]


def test_first_row_without_a_header_line_may_be_malformed(tmp_path: Path) -> None:
    path = saved(tmp_path, b"\xff,x\na,b\nc,d\n")
    table = scored(path, ReadOptions(header=False), "column_1")
    assert table["reason"].to_pylist() == ["not UTF-8", None, None]
    assert table["row"].to_pylist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no row; expected one, since there is no header line"),
        (b"\xff\n\xfe\n", "no row can be read, the first (line 1): not UTF-8; "),
    ],
)
def test_without_header_line_and_rows_there_is_no_table(
    tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        survey(saved(tmp_path, content), (), (), options=ReadOptions(header=False))


def test_first_line_that_looks_like_a_row_asks_for_no_header(tmp_path: Path) -> None:
    for content in ("0,a film\n1,another\n", "a,a long text that is hardly the name of a column\n"):
        path = saved(tmp_path, content)
        for read in (lambda: survey(path, {"text"}, ()), lambda: read_labelled([path])):  # noqa: B023
            with pytest.raises(DataError, match=r"; is its first line a row\? \(--no-header\)$"):
                read()


@pytest.mark.parametrize(("name", "ending"), [(" Text ", ".csv"), ("TEXT", ".jsonl")])
def test_case_and_outer_blanks_of_a_column_do_not_count(
    tmp_path: Path, name: str, ending: str
) -> None:
    content = f"{name},LABEL\n007,x\nb,y\n"
    if ending == ".jsonl":
        content = f'{{"{name}": "007", "LABEL": "x"}}\n{{"{name}": "b", "LABEL": "y"}}\n'
    path = saved(tmp_path, content, f"rows{ending}")
    table = scored(path, ReadOptions())
    assert table.column_names[:2] == [name, "LABEL"]
    assert table[name].to_pylist() == ["007", "b"]
    assert trained(path, ReadOptions()) == [("007", "x"), ("b", "y")]


def test_the_exact_name_wins_and_two_others_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path, "Text,text,label\na,b,x\nc,d,y\n")
    assert trained(path, ReadOptions()) == [("b", "x"), ("d", "y")]
    path = saved(tmp_path, "Text,TEXT,label\na,b,x\n")
    for read in (lambda: survey(path, {"text"}, ()), lambda: read_labelled([path])):
        with pytest.raises(DataError, match=r"columns \['Text', 'TEXT'\] are all called 'text'"):
            read()
