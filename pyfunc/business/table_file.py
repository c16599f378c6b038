"""CSV and Parquet files that look-ups read: a database with one table, named as the file."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from sqlalchemy import Engine
from sqlalchemy.pool import StaticPool

from ..errors import SourceError
from .column_types import convert
from .connections import open_sqlite
from .database import Database, Rows
from .spec import KeyType

_INSERTED_ROWS = 10_000

_LEADING_ZERO = r"^[+-]?0\d"

_SQL_TYPES = (
    (pa.types.is_boolean, "BOOLEAN"),
    (pa.types.is_integer, "INTEGER"),
    (pa.types.is_floating, "REAL"),
    (pa.types.is_decimal, "NUMERIC"),
    (pa.types.is_timestamp, "TIMESTAMP"),
    (pa.types.is_date, "DATE"),
)


class TableFile(Database):
    """A CSV or Parquet file, held in memory; it is read again when it has changed.

    Args:
        path: The file; its name without suffix is the name of the table.
        timeout_ms: Of a query.
    """

    def __init__(self, path: Path, timeout_ms: int) -> None:
        self._path, self._timeout_ms = path, timeout_ms
        self._lock = threading.Lock()  # one connection has the table
        self._version: tuple[int, int] | None = None
        self._engine: Engine = _empty()

    def fetch(self, query: str, keys: Sequence[Any]) -> tuple[list[str], Rows]:
        """Return the names of the columns of a query with `:keys`, and its rows.

        Raises:
            SQLAlchemyError: If it fails or takes too long.
            SourceError: If the file cannot be read.
        """
        with self._lock:
            self._read_if_changed()
            return super().fetch(query, keys)

    def describe(self, query: str) -> list[tuple[str, KeyType]]:
        """Return the columns of a query; errors are those of `fetch`."""
        with self._lock:
            self._read_if_changed()
            return super().describe(query)

    def _read_if_changed(self) -> None:
        try:
            status = self._path.stat()
            version = status.st_mtime_ns, status.st_size
            if version != self._version:
                table = _read(self._path)
                self.close()
                self._engine = _load(table, self._path.stem)
                self._version = version
        except Exception as error:  # noqa: BLE001 -- whatever is in it
            reason = type(error).__name__
            raise SourceError(f"the file cannot be read ({reason})") from None


def _read(path: Path) -> pa.Table:
    if path.suffix.lower() == ".parquet":
        # Not `read_table`, which adds columns for folders that are named like `key=value`.
        return pyarrow.parquet.ParquetFile(path).read()
    # As texts: a key such as 007 is no number.
    with path.open("rb") as file:
        names = pyarrow.csv.open_csv(file).schema.names
    options = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        strings_can_be_null=True,
        null_values=[""],
        quoted_strings_can_be_null=True,
    )
    parsing = pyarrow.csv.ParseOptions(newlines_in_values=True)
    table = pyarrow.csv.read_csv(path, parse_options=parsing, convert_options=options)
    return pa.table({name: _narrowed(table[name]) for name in table.column_names})


def _narrowed(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return texts as numbers or truths, if they are written as those are."""
    try:
        numbers = texts.cast(pa.int64())
        if pc.all(pc.equal(numbers.cast(pa.string()), texts), min_count=0).as_py():
            return numbers
    except pa.ArrowInvalid:
        pass
    if pc.any(pc.match_substring_regex(texts, _LEADING_ZERO)).as_py():
        return texts
    lowered = pc.utf8_lower(texts)
    for kind, values in ((pa.float64(), texts), (pa.bool_(), lowered)):
        try:
            found = values.cast(kind)
        except pa.ArrowInvalid:
            continue
        return found
    return texts


def _empty() -> Engine:
    return open_sqlite(":memory:", poolclass=StaticPool)


def _load(table: pa.Table, name: str) -> Engine:
    engine = _empty()
    columns = ", ".join(f"{_quoted(f.name)} {_sql_type(f.type)}" for f in table.schema)
    places = ", ".join("?" * table.num_columns)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"create table {_quoted(name)} ({columns})")
        for batch in table.to_batches(_INSERTED_ROWS):
            rows = list(zip(*(_values(column) for column in batch.columns), strict=True))
            if rows:
                insert = f"insert into {_quoted(name)} values ({places})"  # noqa: S608 -- quoted
                connection.exec_driver_sql(insert, rows)
        for number, field in enumerate(table.schema):
            index = f"create index i{number} on {_quoted(name)} ({_quoted(field.name)})"
            connection.exec_driver_sql(index)
    return engine


def _values(column: pa.Array) -> list[Any]:
    kind = column.type
    if pa.types.is_nested(kind):
        return [convert(value, "string") for value in column.to_pylist()]
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        return [None if value is None else str(value) for value in column.to_pylist()]
    values: list[Any] = column.to_pylist()
    return values


def _sql_type(kind: pa.DataType) -> str:
    return next((name for is_it, name in _SQL_TYPES if is_it(kind)), "TEXT")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
