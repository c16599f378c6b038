"""Tables as CSV and JSONL, in UTF-8, for programs that read no Parquet.

CSV has a header and quotes texts; a null is empty, and an empty text is `""`. What CSV has no form
for, as a list, is JSON in its cell; a map with text keys is a JSON object. Times and decimals are
written as Arrow prints them, bytes as URL-safe base64; a JSON number that is not finite is null.
Bytes of a text that are not UTF-8 become U+FFFD. A cell that a spreadsheet takes for a formula is
data and stays as it is.

CSV of semicolons is for spreadsheets of countries whose decimal sign is a comma: it begins with a
byte order mark, and has semicolons between cells and commas in numbers.
"""

import codecs
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.types as kinds
from pydantic_core import to_json

from tasks.common.arrow import python_values

CopyFormat = Literal["csv", "csv-semicolon", "jsonl"]


def write_text(
    tables: Iterable[pa.Table], schema: pa.Schema, path: Path, text_format: CopyFormat
) -> None:
    """Write rows to a CSV file, or to a JSONL file with one object a line.

    Args:
        tables: The rows, a part at a time.
        schema: Their columns.
        path: The file.
        text_format: `csv`, `csv-semicolon` or `jsonl`.

    Raises:
        OSError: If the file cannot be written.
    """
    _WRITERS[text_format](tables, schema, path)


def _write_csv(tables: Iterable[pa.Table], schema: pa.Schema, path: Path) -> None:
    header = _with_cells(schema.empty_table()).schema
    with path.open("wb") as file, pyarrow.csv.CSVWriter(file, header) as writer:
        for table in tables:
            writer.write_table(_with_cells(table))


def _write_csv_semicolon(tables: Iterable[pa.Table], schema: pa.Schema, path: Path) -> None:
    header = _with_decimal_commas(_with_cells(schema.empty_table())).schema
    options = pyarrow.csv.WriteOptions(delimiter=";")
    with path.open("wb") as file:
        file.write(codecs.BOM_UTF8)
        with pyarrow.csv.CSVWriter(file, header, write_options=options) as writer:
            for table in tables:
                writer.write_table(_with_decimal_commas(_with_cells(table)))


def json_cells(column: pa.Array | pa.ChunkedArray) -> list[str | None]:
    """Return the values of a column as JSON, each in a text; null is None."""
    return [_json_cell(value) for value in _nested_values(column)]


def _with_decimal_commas(table: pa.Table) -> pa.Table:
    """Return cells whose numbers with a fraction are texts with a comma."""
    columns = [
        pc.replace_substring(column.cast(pa.string()), ".", ",")
        if kinds.is_floating(column.type) or kinds.is_decimal(column.type)
        else column
        for column in table.columns
    ]
    return pa.table(columns, names=table.column_names)


def _write_jsonl(tables: Iterable[pa.Table], schema: pa.Schema, path: Path) -> None:
    with path.open("wb") as file:
        for table in tables:
            columns = [_json_values(column) for column in table.columns]
            for values in zip(*columns, strict=True):
                file.write(_json(dict(zip(schema.names, values, strict=True))) + b"\n")


def _with_cells(table: pa.Table) -> pa.Table:
    return pa.table([_cells(column) for column in table.columns], names=table.column_names)


def _cells(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column in a type that Arrow's CSV writer takes."""
    kind = _value_type(column)
    if _is_number(kind) or _is_printed(kind):
        return column.cast(kind)
    values = _texts(column) if _is_text(kind) else json_cells(column)
    return pa.chunked_array([pa.array(values, pa.large_string())])


def _json_values(column: pa.ChunkedArray) -> list[object]:
    kind = _value_type(column)
    if _is_text(kind):
        return [*_texts(column)]
    if _is_printed(kind):
        return [*column.cast(kind).cast(pa.string()).to_pylist()]
    return _nested_values(column)


def _nested_values(column: pa.Array | pa.ChunkedArray) -> list[object]:
    values = python_values(column)
    if not (kinds.is_map(column.type) and _is_text(column.type.key_type)):
        return values
    # Of a repeated key the last value counts:
    # https://github.com/apache/parquet-format/blob/master/LogicalTypes.md#maps
    return [dict(value) if isinstance(value, list) else value for value in values]


def _value_type(column: pa.ChunkedArray) -> pa.DataType:
    return column.type.value_type if kinds.is_dictionary(column.type) else column.type


def _is_text(kind: pa.DataType) -> bool:
    return bool(kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_boolean(kind))


def _is_printed(kind: pa.DataType) -> bool:
    return bool(kinds.is_decimal(kind) or kinds.is_temporal(kind)) and not kinds.is_interval(kind)


def _texts(column: pa.ChunkedArray) -> list[str | None]:
    # What is not UTF-8 is there as lone surrogates, which no file in UTF-8 can hold.
    values = python_values(column)
    encoded = (v if v is None else str(v).encode(errors="surrogateescape") for v in values)
    return [v if v is None else v.decode(errors="replace") for v in encoded]


def _json_cell(value: object) -> str | None:
    return None if value is None else _json(value).decode()


def _json(value: object) -> bytes:
    return to_json(value, bytes_mode="base64", inf_nan_mode="null", fallback=str)


_WRITERS: dict[CopyFormat, Callable[[Iterable[pa.Table], pa.Schema, Path], None]] = {
    "csv": _write_csv,
    "csv-semicolon": _write_csv_semicolon,
    "jsonl": _write_jsonl,
}
