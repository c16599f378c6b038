"""Parquet reader: the schema, and the rows in batches of bounded size."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.common.arrow import decoded_bytes, select_input_columns
from tasks.common.cancellation import raise_if_stopped
from tasks.common.errors import DataError
from tasks.ingestion.compression import open_seekable
from tasks.ingestion.formats import MAX_CELL, MAX_COLUMNS, Compression

_BATCH_BYTES = 2**25  # of the values, decoded

_MAGIC = b"PAR1"

_TEXT_TYPES = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
)

# Of types within types: Arrow cannot read a schema again that is much deeper.
_MAX_DEPTH = 100

# Of a list in the metadata, as of columns with those inside them, or of row groups. Arrow needs
# memory by the square of the depth, and ends the process at about 100,000.
_MAX_ELEMENTS = 2**15

_COUNTED_AT_ONCE = 50_000  # rows

_TEXTS = ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")

_FIXED_BYTES = 16  # at most, of a number


def read_schema(path: Path, compression: Compression) -> pa.Schema:
    """Return the schema, from the file's metadata.

    Raises:
        OSError: If it cannot be opened.
        DataError: If it is no Parquet file.
    """
    with _open_parquet(path, compression) as file:
        return _checked_schema(path, file)


def survey_parquet(path: Path, compression: Compression) -> tuple[pa.Schema, int]:
    """Return the schema, and the number of rows that the file has, whatever it says of itself.

    Of each row group the smallest column is read, unless it has texts, which take as long as all
    the file, and there are no more rows than bytes. Rows that are missing then are found when the
    file is read.

    Raises:
        OSError: If it cannot be opened.
        DataError: If it is no Parquet file, or has another number of rows than it says.
    """
    with _open_parquet(path, compression) as file:
        groups = range(file.metadata.num_row_groups)
        schema = _checked_schema(path, file)
        plausible = file.metadata.num_rows <= path.stat().st_size
        rows = sum(_count_rows(path, file, group, plausible=plausible) for group in groups)
        _check_rows(path, rows, file.metadata.num_rows)
        return schema, rows


def read_parquet_batches(
    path: Path, compression: Compression, schema: pa.Schema, rows: int
) -> Iterator[pa.RecordBatch]:
    """Yield the rows in batches of at most `rows`, fewer where these are long; none is empty.

    Raises:
        OSError: If it cannot be opened.
        DataError: If it is no Parquet file, is damaged, or has another schema.
    """
    with _open_parquet(path, compression) as file:
        # Without metadata: a serialised schema loses the names inside maps.
        if not _input_schema(path, file).equals(schema):
            raise DataError(f"{path}: its columns have changed; expected those surveyed")
        groups = range(file.metadata.num_row_groups)
        # None reads all; by name, a column with a dot in its name would be a part of another.
        names = None if schema.equals(file.schema_arrow) else schema.names
        batches = chain.from_iterable(
            _group_batches(path, file, group, rows, names) for group in groups
        )
        yield from _merged((batch for batch in batches if batch.num_rows), rows)


def _input_schema(path: Path, file: pq.ParquetFile) -> pa.Schema:
    """Return the columns that are input; a file of recorded requests has their answers too."""
    try:
        schema = select_input_columns(file.schema_arrow)
    except ValueError as error:
        raise DataError(f"{path}: its metadata is damaged ({error})") from error
    if file.schema_arrow.names and not schema.names:
        raise DataError(f"{path}: has requests that are recorded without text; expected texts")
    return schema


def _checked_schema(path: Path, file: pq.ParquetFile) -> pa.Schema:
    schema = _input_schema(path, file)
    if len(schema) > MAX_COLUMNS:
        raise DataError(f"{path}: {len(schema)} columns; expected at most {MAX_COLUMNS}")
    level = schema.types
    for _ in range(_MAX_DEPTH):
        level = [kind.field(place).type for kind in level for place in range(kind.num_fields)]
    if level:
        raise DataError(f"{path}: columns nested more than {_MAX_DEPTH} levels; expected fewer")
    return schema


def empty_long_cells(batch: pa.RecordBatch) -> tuple[list[pa.Array], list[bool]]:
    """Return the columns with neither text nor binary value of more than `MAX_CELL` bytes.

    Such a cell becomes null, or empty where its column may not be null. Lists and structs stay.

    Returns:
        The columns, and for each row whether it had such a cell.
    """
    columns, rows = [], pa.repeat(False, batch.num_rows)
    for column, field in zip(batch.columns, batch.schema, strict=True):
        lengths = _lengths(column) if column.nbytes > MAX_CELL else None
        if lengths is None:
            columns.append(column)
            continue
        long = pc.fill_null(pc.greater(lengths, MAX_CELL), False)
        rows = pc.or_(rows, long)
        columns.append(_emptied(column, long, nullable=field.nullable))
    return columns, rows.to_pylist()


def _lengths(column: pa.Array) -> pa.Array | None:
    """Return the bytes of each text or binary value; None for a column of another type."""
    if isinstance(column, pa.DictionaryArray):
        lengths = _lengths(column.dictionary)
        return None if lengths is None else lengths.take(column.indices)
    if any(is_kind(column.type) for is_kind in _TEXT_TYPES):
        return pc.binary_length(column.cast(pa.large_binary()))
    return None


def _emptied(column: pa.Array, places: pa.Array, *, nullable: bool) -> pa.Array:
    if isinstance(column, pa.DictionaryArray):
        # The values stand in the dictionary once, so that a column that has no nulls can keep them.
        nothing = pa.scalar(None, column.indices.type)
        indices = pc.if_else(places, nothing, column.indices) if nullable else column.indices
        return pa.DictionaryArray.from_arrays(indices, column.dictionary)
    # Arrow has no if_else for views. Unsafe: texts that are not UTF-8 pass through.
    empty = pa.scalar(None if nullable else b"", pa.large_binary())
    kept = pc.if_else(places, empty, column.cast(pa.large_binary()))
    return kept.cast(column.type, safe=False)


@contextmanager
def _open_parquet(path: Path, compression: Compression) -> Iterator[pq.ParquetFile]:
    with open_seekable(path, compression, starts_with=_MAGIC) as source:
        try:
            # With pre_buffer a whole row group would be in memory.
            yield pq.ParquetFile(
                source,
                buffer_size=2**20,
                pre_buffer=False,
                page_checksum_verification=True,
                thrift_container_size_limit=_MAX_ELEMENTS,
            )
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            # Arrow raises OSError for damage too, but only the system's have an errno; a damaged
            # column name may not be UTF-8.
            if getattr(error, "errno", None):
                raise
            reason = re.sub(r"\s+", " ", str(error)).strip()
            raise DataError(f"{path}: expected a Parquet table ({reason})") from error


def _group_batches(
    path: Path, file: pq.ParquetFile, group: int, rows: int, names: list[str] | None
) -> Iterator[pa.RecordBatch]:
    if not _has_rows(path, file, group):
        return
    metadata = file.metadata.row_group(group)
    at_once = min(rows, _batch_rows(_row_bytes(metadata)))
    found = 0
    # Threads would keep more columns in memory at once.
    for batch in file.iter_batches(at_once, row_groups=[group], columns=names, use_threads=False):
        found += batch.num_rows
        yield batch
    _check_rows(path, found, metadata.num_rows)


def _count_rows(path: Path, file: pq.ParquetFile, group: int, *, plausible: bool) -> int:
    if not _has_rows(path, file, group):
        return 0
    metadata = file.metadata.row_group(group)
    chunks = [metadata.column(number) for number in range(metadata.num_columns)]
    for chunk, column in zip(chunks, file.schema, strict=True):
        # A list has a value for each of its items.
        if column.max_repetition_level == 0 or chunk.num_values < metadata.num_rows:
            _check_rows(path, chunk.num_values, metadata.num_rows)
    smallest = min(chunks, key=lambda chunk: chunk.total_compressed_size)
    if plausible and smallest.physical_type in _TEXTS:
        return int(metadata.num_rows)
    at_once = min(_COUNTED_AT_ONCE, _batch_rows(_value_bytes(smallest, metadata.num_rows)))
    batches = file.iter_batches(
        at_once, row_groups=[group], columns=[smallest.path_in_schema], use_threads=False
    )
    rows = 0
    for batch in batches:
        raise_if_stopped()
        rows += batch.num_rows
    _check_rows(path, rows, metadata.num_rows)
    return rows


def _has_rows(path: Path, file: pq.ParquetFile, group: int) -> bool:
    # Asking for the metadata of a damaged or encrypted column would end the process; reading it is
    # an error.
    if next(file.iter_batches(1, row_groups=[group], use_threads=False), None) is not None:
        return True
    _check_rows(path, 0, file.metadata.row_group(group).num_rows)
    return False


def _check_rows(path: Path, found: int, claimed: int) -> None:
    if found != claimed:
        raise DataError(f"{path}: its metadata claims {claimed} rows; expected {found}, as found")


def _merged(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the batches, small ones as one, of at most `rows` rows and `_BATCH_BYTES`."""
    group: list[pa.RecordBatch] = []
    count = size = 0
    for batch in batches:
        for part in _cut(batch, rows - count):
            length = decoded_bytes(part)
            if group and (count == rows or size + length > _BATCH_BYTES):
                yield pa.concat_batches(group)
                group, count, size = [], 0, 0
            group.append(part)
            count, size = count + part.num_rows, size + length
    if group:
        yield pa.concat_batches(group)


def _cut(batch: pa.RecordBatch, rows: int) -> list[pa.RecordBatch]:
    """Return a batch in two parts, the first of `rows` rows, if both have any."""
    parts = [batch.slice(0, rows), batch.slice(rows)]
    return [part for part in parts if part.num_rows]


def _batch_rows(row_bytes: float) -> int:
    """Return how many rows may be decoded at once, if all are as long as one may be."""
    return max(1, int(_BATCH_BYTES / max(1.0, row_bytes)))


def _row_bytes(group: pq.RowGroupMetaData) -> float:
    """Return the bytes that a row of a group may become."""
    chunks = map(group.column, range(group.num_columns))
    return sum(_value_bytes(chunk, group.num_rows) for chunk in chunks)


def _value_bytes(chunk: pq.ColumnChunkMetaData, rows: int) -> float:
    """Return the bytes that a row may become in a column.

    What equal values or prefixes share is stored once, so a text may be as long as all that its
    column stores. Of a column of lists, the average length is taken.
    """
    has_texts = chunk.physical_type in _TEXTS
    longest = chunk.total_uncompressed_size if has_texts else _FIXED_BYTES
    return float(max(0, longest) * max(1.0, chunk.num_values / max(1, rows)))
