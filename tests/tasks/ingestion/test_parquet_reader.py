import gzip
import io
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.common.arrow import mark_input_columns
from tasks.common.errors import DataError
from tasks.ingestion import parquet_reader
from tasks.ingestion.formats import MAX_CELL
from tasks.ingestion.table_reader import PLACE, empty_block, read_blocks, read_columns, survey

pytestmark = pytest.mark.usefixtures("home")

unicode = st.text(st.characters(exclude_categories=["Cs"]))
KINDS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.int8(), st.integers(-128, 127)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.float32(), st.floats(width=32, allow_nan=False)),
    (pa.bool_(), st.booleans()),
    (pa.string(), unicode),
    (pa.large_string(), unicode),
    (pa.string_view(), unicode),
    (pa.binary(), st.binary()),
    (pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["a", "", "NA", "é"])),
    (pa.decimal128(20, 2), st.decimals(-1000, 1000, places=2)),
    (pa.date32(), st.dates()),
    (pa.timestamp("us", "Europe/Berlin"), st.just(datetime(2026, 3, 29, 1, 30, tzinfo=UTC))),
    (pa.duration("ms"), st.integers(0, 10**6).map(lambda ms: timedelta(milliseconds=ms))),
    (pa.list_(pa.struct([("a", pa.int64())])), st.lists(st.fixed_dictionaries({"a": st.none()}))),
    (pa.map_(pa.string(), pa.int64()), st.lists(st.tuples(unicode, st.integers(0, 9)))),
    (pa.null(), st.none()),
]


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))
    rows = draw(st.integers(0, 12))
    columns = [
        pa.array(draw(st.lists(st.none() | values, min_size=rows, max_size=rows)), kind)
        for kind, values in kinds
    ]
    return pa.table(columns, names=[f"column {number}" for number in range(len(kinds))])


def write(table: pa.Table, path: Path, **options: Any) -> None:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    content = buffer.getvalue()
    if path.suffix == ".gz":
        content = gzip.compress(content)
    if path.suffix == ".zst":
        content = pa.Codec("zstd").compress(content, asbytes=True)
    path.write_bytes(content)


def read(path: Path, block_rows: int = 1_000) -> pa.Table:
    found = survey(path, (), ())
    blocks = list(read_blocks(path, found, block_rows))
    assert all(1 <= block.num_rows <= block_rows for block in blocks)
    assert found.rows == sum(block.num_rows for block in blocks)
    return pa.concat_tables([empty_block(found), *blocks])


def read_table(table: pa.Table, block_rows: int = 1_000, **options: Any) -> pa.Table:
    with TemporaryDirectory() as folder:
        path = Path(folder, "rows.parquet")
        write(table, path, **options)
        return read(path, block_rows)


@settings(deadline=None)
@given(
    table=tables(),
    suffix=st.sampled_from(["", ".gz", ".zst"]),
    group_rows=st.integers(1, 7),
    block_rows=st.integers(1, 5),
)
def test_rows_come_back_in_order_in_the_types_that_they_have(
    table: pa.Table, suffix: str, group_rows: int, block_rows: int
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, f"rows.parquet{suffix}")
        write(table, path, row_group_size=group_rows)
        found = read(path, block_rows)
        stored = pq.ParquetFile(path).schema_arrow if not suffix else None
    columns = found.select(table.column_names)
    assert columns.to_pylist() == table.to_pylist()
    assert stored is None or columns.schema.equals(stored)
    assert found.schema.names == [*table.column_names, *PLACE.names]
    assert found["row"].to_pylist() == list(range(1, table.num_rows + 1))
    for name in ("line", "raw", "step", "reason"):
        assert found[name].null_count == table.num_rows


def test_metadata_and_extensions_stay() -> None:
    uuids = pa.array([b"0123456789abcdef"], pa.binary(16))
    table = pa.table({"id": pa.ExtensionArray.from_storage(pa.uuid(), uuids)})
    field = pa.field("n", pa.int64(), nullable=False, metadata={"unit": "s"})
    table = table.append_column(field, [[1]]).replace_schema_metadata({"made by": "test"})
    found = read_table(table).select(["id", "n"])
    assert found.schema.field("id").type == pa.uuid()
    assert found.schema.field("n").metadata[b"unit"] == b"s"
    assert not found.schema.field("n").nullable
    assert found.schema.metadata[b"made by"] == b"test"


def test_index_that_pandas_stored_is_a_column() -> None:
    frame = pd.DataFrame({"text": ["a", "b"]}, index=pd.Index(["x", "y"], name="key"))
    table = read_table(pa.Table.from_pandas(frame))
    assert table["key"].to_pylist() == ["x", "y"]


def test_dictionaries_that_differ_between_row_groups_are_read() -> None:
    column = pa.array([f"label {n // 5}" for n in range(40)]).dictionary_encode()
    table = pa.table(
        {"label": column, "day": [date(2026, 1, 1)] * 40, "cost": [Decimal("1.50")] * 40}
    )
    found = read_table(table, block_rows=7, row_group_size=10)
    assert found["label"].type == column.type
    assert found["label"].to_pylist() == column.to_pylist()


def test_bytes_that_are_not_utf8_pass_through_a_text_column() -> None:
    offsets, data = np.array([0, 2, 3], np.int32), b"\xff\xfea"
    column = pa.StringArray.from_buffers(2, pa.py_buffer(offsets), pa.py_buffer(data))
    found = read_table(pa.table({"text": column, "n": [1, 2]}))
    assert found["text"].type == pa.string()
    assert found["text"].cast(pa.binary()).to_pylist() == [b"\xff\xfe", b"a"]


def test_tables_without_rows_and_without_columns_are_read() -> None:
    assert read_table(pa.table({"a": pa.array([], pa.string())})).num_rows == 0
    assert read_table(pa.table({})).column_names == PLACE.names


def test_long_rows_make_small_blocks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(parquet_reader, "_BATCH_BYTES", 10_000)
    path = tmp_path / "rows.parquet"
    texts = [f"{number}" * 1_000 for number in range(100)]
    write(pa.table({"text": texts}), path, use_dictionary=False, compression="none")
    found = survey(path, (), ())
    blocks = list(read_blocks(path, found))
    assert 2 <= max(block.num_rows for block in blocks) <= 10
    assert [text for block in blocks for text in block["text"].to_pylist()] == texts


# Damaged files


@pytest.mark.parametrize("cut", [0, 3, 11, 500, -1])
def test_truncated_file_is_no_table(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "rows.parquet"
    write(pa.table({"text": [f"text {number}" for number in range(1_000)]}), path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"expected a Parquet table") as error:
        survey(path, (), ())
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@settings(deadline=None, max_examples=200)
@given(position=st.integers(0, 10**6), value=st.integers(0, 255))
@example(position=239_883, value=128)  # a column's name is no UTF-8
def test_damaged_file_is_read_or_refused_in_one_line(position: int, value: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "rows.parquet")
        write(pa.table({"n": range(500), "text": ["a", "b"] * 250}), path, row_group_size=100)
        data = bytearray(path.read_bytes())
        data[position % len(data)] = value
        path.write_bytes(data)
        message = f"{path}: "
        try:
            read(path, 50)
        except DataError as error:
            message = str(error)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message


def varint(number: int) -> bytes:
    low, rest = 2 * number & 127, 2 * number >> 7
    content = b""
    while rest:
        content += bytes([low | 128])
        low, rest = rest & 127, rest >> 7
    return content + bytes([low])


def with_claimed_rows(path: Path, rows: int, claimed: int, places: set[int]) -> None:
    """Change the row count in a footer: of the file (0), the columns and the row group (last)."""
    content = path.read_bytes()
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    number = b"\x16" + varint(rows)  # a 64-bit integer that is the next field
    first, *others = content[start:-8].split(number)
    footer = first + b"".join(
        (b"\x16" + varint(claimed) if place in places else number) + part
        for place, part in enumerate(others)
    )
    path.write_bytes(content[:start] + footer + len(footer).to_bytes(4, "little") + b"PAR1")


@pytest.mark.parametrize(
    ("claimed", "places", "found"),
    [
        (10**9, {0, 1, 2, 3}, 1234),
        (10**12, {0, 1, 2, 3}, 1234),
        (10**12, {0}, 1234),
        (10**12, {0, 1}, None),
        (1235, {0, 3}, None),
        (10, {0, 3}, None),
        (10, {3}, None),
    ],
    ids=str,
)
def test_rows_that_the_metadata_alone_has_are_an_error(
    tmp_path: Path, claimed: int, places: set[int], found: int | None
) -> None:
    path = tmp_path / "rows.parquet"
    write(pa.table({"text": [f"text {n}" for n in range(1234)], "n": range(1234)}), path)
    with_claimed_rows(path, 1234, claimed, places)
    expected = rf"its metadata claims {claimed} rows; expected {found}" if found else "claims"
    with pytest.raises(DataError, match=f"^{path}: .*{expected}") as error:
        survey(path, (), ())
    assert "\n" not in str(error.value)


def test_texts_that_the_metadata_alone_has_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write(pa.table({"text": ["a"] * 1234}), path)
    with_claimed_rows(path, 1234, 10**9, {0, 1, 2, 3})
    with pytest.raises(DataError, match="claims 1000000000 rows; expected 1234, as found"):
        survey(path, (), ())


def test_rows_that_training_does_not_find_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write(pa.table({"text": [f"text {n}" for n in range(1234)], "n": range(1234)}), path)
    with_claimed_rows(path, 1234, 2000, {0, 1, 2, 3})
    with pytest.raises(DataError, match="claims 2000 rows; expected 1234, as found"):
        list(read_columns(path, lambda names: ["text"]))


def test_damage_that_a_checksum_tells_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    options = {"use_dictionary": False, "compression": "none", "write_page_checksum": True}
    write(pa.table({"text": ["some text"] * 100}), path, **options)
    content = path.read_bytes()
    length = b"\x09\0\0\0"
    path.write_bytes(content.replace(length + b"some text", length + b"same text", 1))
    assert path.read_bytes() != content
    with pytest.raises(DataError, match=str(path)):
        list(read_blocks(path, survey(path, (), ())))


# Bounds


TYPES_OF_TEXT = [pa.string(), pa.dictionary(pa.int32(), pa.string()), pa.list_(pa.string())]


@pytest.mark.parametrize("kind", TYPES_OF_TEXT, ids=str)
def test_rows_that_share_a_long_value_make_small_blocks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: pa.DataType
) -> None:
    monkeypatch.setattr(parquet_reader, "_BATCH_BYTES", 100_000)
    path = tmp_path / "rows.parquet"
    text = "long " * 4_000
    column = pa.array([[text] if pa.types.is_list(kind) else text] * 500, kind)
    write(pa.table({"text": column, "n": range(500)}), path)
    assert path.stat().st_size < 20_000
    blocks = list(read_blocks(path, survey(path, (), ())))
    assert max(block.num_rows for block in blocks) <= 5
    assert [n for block in blocks for n in block["n"].to_pylist()] == list(range(500))
    assert pa.concat_tables(blocks)["text"].to_pylist() == column.to_pylist()


def test_prefixes_that_values_share_count_as_they_become(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(parquet_reader, "_BATCH_BYTES", 100_000)
    path = tmp_path / "rows.parquet"
    texts = [f"{'long ' * 4_000}{number}" for number in range(500)]
    encoding = {"text": "DELTA_BYTE_ARRAY"}
    write(pa.table({"text": texts}), path, use_dictionary=False, column_encoding=encoding)
    assert path.stat().st_size < 20_000
    blocks = list(read_blocks(path, survey(path, (), ())))
    assert max(block.num_rows for block in blocks) <= 5
    assert [text for block in blocks for text in block["text"].to_pylist()] == texts


def test_short_rows_fill_their_blocks_whatever_their_encoding(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    texts = [f"text {number % 9_000} " * 20 for number in range(20_000)]
    write(pa.table({"text": texts, "kind": pa.array(texts).dictionary_encode()}), path)
    blocks = list(read_blocks(path, survey(path, (), ())))
    assert min(block.num_rows for block in blocks[:-1]) > 900
    assert [text for block in blocks for text in block["text"].to_pylist()] == texts
    assert [text for block in blocks for text in block["kind"].to_pylist()] == texts


@pytest.mark.parametrize(
    "field",
    [
        pa.field("text", pa.string()),
        pa.field("text", pa.string_view()),
        pa.field("text", pa.binary()),
        pa.field("text", pa.dictionary(pa.int32(), pa.string())),
        pa.field("text", pa.string(), nullable=False),
    ],
    ids=str,
)
def test_row_with_a_cell_that_is_too_long_is_rejected_without_it(
    tmp_path: Path, field: pa.Field
) -> None:
    path = tmp_path / "rows.parquet"
    texts = ["a", "x" * MAX_CELL, "x" * (MAX_CELL + 1), "b"]
    schema = pa.schema([field, ("n", pa.int64())])
    write(pa.table([pa.array(texts, field.type), range(4)], schema=schema), path)
    found = read(path)
    assert found["reason"].to_pylist() == [None, None, "a cell longer than 16777216 bytes", None]
    assert found["step"].to_pylist() == [None, None, "read", None]
    assert found["n"].to_pylist() == [0, 1, 2, 3]
    assert found.schema.field("text").equals(field)
    lengths = [None if text is None else len(text) for text in found["text"].to_pylist()]
    assert lengths == [1, MAX_CELL, None if field.nullable else 0, 1]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("start", [b"", b"PAR", b"text,label\n"])
def test_what_is_no_table_is_refused_before_it_is_unpacked(
    tmp_path: Path, home: Path, suffix: str, start: bytes
) -> None:
    content = start + bytes(2**24)
    packed = gzip.compress(content) if suffix == ".gz" else pa.Codec("zstd").compress(content)
    path = tmp_path / f"rows.parquet{suffix}"
    path.write_bytes(packed)
    with pytest.raises(DataError, match=f"^{path}: its content does not start with PAR1; exp"):
        survey(path, (), ())
    assert not home.exists()


def test_columns_that_are_no_input_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "recorded.parquet"
    table = pa.table({"a.b": [{"c": 1}], "row": [1], "a": [{"b": 2}], "text": ["a film"]})
    pq.write_table(mark_input_columns(table, ["text", "a.b"]), path)
    found = read_columns(path, lambda names: names)
    assert [row.values for row in found] == [({"c": 1}, "a film")]


@pytest.mark.parametrize("marked", ["no JSON", "7", "{}"])
def test_a_damaged_list_of_input_columns_is_named(tmp_path: Path, marked: str) -> None:
    path = tmp_path / "recorded.parquet"
    table = pa.table({"text": ["a film"]})
    pq.write_table(table.replace_schema_metadata({"millstream.input_columns": marked}), path)
    with pytest.raises(DataError, match=f"^{path}: its metadata is damaged"):
        list(read_columns(path, lambda names: names))
