"""JSON arrays: one object a row, as if each were a line of JSONL."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.errors import DataError
from tasks.dataset.labelled_rows import read_labelled
from tasks.ingestion import json_array
from tasks.ingestion.compression import MAX_LINE_BYTES
from tasks.ingestion.json_array import split_array
from tasks.ingestion.table_reader import read_blocks, survey

pytestmark = pytest.mark.usefixtures("home")

ROWS: list[dict[str, Any]] = [
    {"text": 'a "film", [sic]\n', "label": "x", "n": 1},
    {"text": "}],{[ \\", "label": "y", "inner": {"list": [1, [2, {"a": "]"}]]}},
    {"text": "很好", "label": "x"},
]


def read(path: Path) -> pa.Table:
    found = survey(path, (), (), {"text"})
    return pa.concat_tables(read_blocks(path, found))


def saved(folder: Path, content: str | bytes, name: str = "rows.json") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
@pytest.mark.parametrize("indent", [None, 0, 2])
def test_an_array_has_the_rows_of_its_objects_as_lines(
    tmp_path: Path, name: str, indent: int | None
) -> None:
    array = saved(tmp_path, json.dumps(ROWS, indent=indent, ensure_ascii=False), name)
    lines = saved(tmp_path, "\n".join(map(json.dumps, ROWS)), "lines.jsonl")
    columns = ["text", "label", "n", "inner", "row"]
    assert read(array).select(columns).equals(read(lines).select(columns))
    assert list(read_labelled([array])["text"]) == [row["text"] for row in ROWS]


def test_lines_of_json_may_be_called_json(tmp_path: Path) -> None:
    assert read(saved(tmp_path, '{"text": "a"}\n{"text": "b"}\n'))["line"].to_pylist() == [1, 2]


def test_elements_have_the_lines_they_start_on_and_digits_as_written(tmp_path: Path) -> None:
    content = (
        '\ufeff\n[\n\n {"text": "a",\r\n "n": 1.10},{"n": 12345678901234567890.123},\n{}\n]\n\n'
    )
    table = read(saved(tmp_path, content))
    assert table["line"].to_pylist() == [4, 5, 6]
    assert table["n"].to_pylist() == ["1.1", "12345678901234567890.123", None]


def test_element_that_cannot_be_read_is_rejected_with_its_bytes(tmp_path: Path) -> None:
    content = b'[{"text": "a"}, 5,\n[{"text": "b"}], {"text": b},, {"text": "\xff"},{"text": "c"} ]'
    table = read(saved(tmp_path, content))
    assert table["text"].to_pylist() == ["a", None, None, None, None, "c"]
    reasons = [None, "not an object", "not an object", "not JSON", "not UTF-8", None]
    assert table["reason"].to_pylist() == reasons
    raws = [None, b"5", b'[{"text": "b"}]', b'{"text": b}', b'{"text": "\xff"}', None]
    assert table["raw"].to_pylist() == raws


def test_open_string_costs_one_row_if_objects_begin_on_lines_of_their_own(tmp_path: Path) -> None:
    rows = json.dumps(ROWS, indent=2).replace('"label": "y"', '"label": "y')
    table = read(saved(tmp_path, rows))
    assert table["reason"].to_pylist() == [None, "not JSON", None]
    assert table["line"].to_pylist() == [2, 7, 22]
    one_line = saved(tmp_path, '[{"text": "a"},{"text": "b},{"text": "c"}]\n')
    assert read(one_line)["reason"].to_pylist() == [None, "not JSON"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"text": "a"}', "not closed"),
        ('[{"text": "a"}, {"text": "b', "not closed"),
        ('[{"text": "a\n', "not closed"),
        ('[{"text": "a"}] {"text": "b"}', "line 1: text after the JSON array"),
        ('[\n{"text": "a"}\n]\n]', "line 4: text after the JSON array"),
    ],
)
def test_an_array_that_is_cut_or_goes_on_is_refused_whole(
    tmp_path: Path, content: str, message: str
) -> None:
    with pytest.raises(DataError, match=message) as error:
        read(saved(tmp_path, content))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("content", ["[]", " [ ]\n", "[\n]"])
def test_an_empty_array_has_no_row(tmp_path: Path, content: str) -> None:
    assert survey(saved(tmp_path, content), {"text"}, ()).rows == 0


def test_lines_that_are_arrays_stay_rows(tmp_path: Path) -> None:
    path = saved(tmp_path, '[{"text": "a"}]\n{"text": "b"}\n', "rows.jsonl")
    assert read(path)["reason"].to_pylist() == ["not an object", None]


@given(
    rows=st.lists(
        st.recursive(
            st.none() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        )
    ),
    seed=st.integers(),
)
def test_elements_are_those_of_the_array_however_it_is_read(rows: list[Any], seed: int) -> None:
    content = json.dumps(rows, ensure_ascii=False).encode(errors="surrogatepass")

    class Pieces:
        """A stream whose reads are short, so that each place is the end of one."""

        def __init__(self) -> None:
            self.at, self.chance = 0, random.Random(seed)

        def read(self, _: int) -> bytes:
            first, self.at = self.at, self.at + self.chance.randint(1, 4)
            return content[first : self.at]

    parts = split_array(Pieces(), Path("rows.json"))  # type: ignore[arg-type]
    assert [json.loads(part) for _, part in parts if part] == rows


def test_long_array_on_one_line_is_read_as_a_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_array, "MAX_LINE_BYTES", 2**16)
    rows = [{"text": "w " * 1_000, "n": n} for n in range(2_000)]
    assert read(saved(tmp_path, json.dumps(rows))).num_rows == 2_000
    path = saved(tmp_path, json.dumps([{"text": "w" * MAX_LINE_BYTES}]))
    with pytest.raises(DataError, match="the element on line 1 is longer than"):
        read(path)
