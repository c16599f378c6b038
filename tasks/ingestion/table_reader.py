"""Read tables: files to score in blocks after a survey, labelled files by two of their columns.

Memory does not grow with the file, and each cell and value is passed on unchanged.
"""

import errno
import logging
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.common.arrow import python_values
from tasks.common.errors import DataError
from tasks.common.files import sha256_of
from tasks.ingestion import csv_reader, jsonl_reader, parquet_reader
from tasks.ingestion.column_checks import check_distinct, check_required, check_reserved
from tasks.ingestion.compression import read_lines
from tasks.ingestion.formats import (
    BLOCK_ROWS,
    EXPECTED,
    MAX_CELL,
    Format,
    Record,
    Row,
    RowWarnings,
    Survey,
    SurveyedFile,
    TextFormat,
    format_of,
    in_blocks,
    unknown_kind,
)
from tasks.ingestion.json_array import split_array
from tasks.ingestion.likely_causes import Readable, describe_refused_file
from tasks.ingestion.text_format import (
    AS_FOUND,
    ReadOptions,
    find_text_format,
    open_text,
    original_bytes,
)

logger = logging.getLogger(__name__)

# Beside the input columns, in this order.
PLACE = pa.schema(
    [
        ("row", pa.int64()),
        ("line", pa.int64()),
        ("raw", pa.binary()),
        ("step", pa.string()),
        ("reason", pa.string()),
    ]
)


# Of rows that cannot be read.
READ_STEP = "read"

# Rows of a Parquet file.
_PLAIN = Record(None, 0, None)
_TOO_LONG = Record(None, 0, None, reason=f"a cell longer than {MAX_CELL} bytes")


def survey(
    path: Path,
    required: Collection[str],
    reserved: Collection[str],
    texts: Collection[str] = (),
    options: ReadOptions = AS_FOUND,
) -> Survey:
    """Read a whole file and return what is needed to read its rows in blocks.

    Args:
        path: A file with one of the endings in `formats.EXPECTED`.
        required: Columns that it must have; their case and outer blanks do not count.
        reserved: Columns that it must not have, besides those of `PLACE`.
        texts: CSV columns that are text whatever they look like, and JSONL columns in which
            other values beside texts are rejected.
        options: How its text is read.

    Raises:
        OSError: If it cannot be opened or read, which another attempt may mend.
        DataError: If it is no table, or its columns are not as they should be.
    """
    form = _format(path)
    try:
        status = path.stat()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise DataError(f"{path}: a link that leads back to itself; expected a file") from error
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
        raise DataError(f"{path}: no regular file; expected {EXPECTED}")
    digest = sha256_of(path)
    warnings, readable = RowWarnings(), Readable()
    text = find_text_format(path, form, options)
    schema, rows = _schema_of(
        path, form, text, texts, lambda records: readable.watch(warnings.watch(records))
    )
    if readable.first_refused is not None and not readable.rows:
        raise DataError(f"{path}: {describe_refused_file(readable.first_refused)}")
    check_distinct(path, schema.names)
    # A JSONL file without a row that can be read has no columns to look for.
    if schema.names or form.kind != "jsonl" or readable.rows:
        check_required(path, schema.names, required)
    check_reserved(path, schema.names, {*reserved, *PLACE.names})
    found = Survey(
        sha256=digest,
        size=status.st_size,
        modified_ns=status.st_mtime_ns,
        changed_ns=status.st_ctime_ns,
        rows=rows,
        columns=schema.serialize().to_pybytes(),
        warnings=warnings.messages(path),
        text=text,
    )
    for warning in found.warnings:
        logger.warning("%s", warning)
    _check_fits(path, SurveyedFile(path, found).is_unchanged())
    return found


def read_blocks(path: Path, survey: Survey, block_rows: int = BLOCK_ROWS) -> Iterator[pa.Table]:
    """Yield the rows in their order, in tables of at most `block_rows`; none is empty.

    Each has the input columns in the survey's types and those of `PLACE`. `row` counts from 1
    over all rows, `line` from 1 in the decompressed file (null for Parquet). Where a row could
    not be parsed, the input columns are null and `raw` has its bytes without the final line
    break. Where a row is rejected, `step` is "read" and `reason` says why.

    Raises:
        OSError: If the file cannot be opened or read, which another attempt may mend.
        DataError: If it is damaged, or no longer the file that was surveyed.
    """
    rows = 0
    file = SurveyedFile(path, survey)
    _check_fits(path, file.is_unchanged())
    for columns, records in _blocks(path, survey, block_rows):
        _check_fits(path, file.is_unchanged())
        first, rows = rows + 1, rows + len(records)
        _check_fits(path, rows <= survey.rows)
        arrays = [*columns, *_places(records, first, survey.text)]
        yield pa.Table.from_arrays(arrays, schema=_block_schema(survey))
    _check_fits(path, rows == survey.rows)


def empty_block(survey: Survey) -> pa.Table:
    """Return a table without rows that has the columns `read_blocks` yields."""
    return _block_schema(survey).empty_table()


def read_columns(
    path: Path,
    choose: Callable[[Sequence[str]], Sequence[str]],
    options: ReadOptions = AS_FOUND,
) -> Iterator[Row]:
    """Yield all rows of a file with their values in some columns, whatever the others hold.

    CSV cells are texts; JSONL and Parquet values are those of Python, and null is None.

    Args:
        path: A file with one of the endings in `formats.EXPECTED`.
        choose: Returns the names of the wanted columns, given those that the file has. It is not
            called for a JSONL file without a row that can be parsed.
        options: How its text is read.

    Raises:
        OSError: If it cannot be opened or read, which another attempt may mend.
        DataError: If it is no table, or two columns have one name; what `choose` raises.
    """
    form = _format(path)
    if form.kind == "parquet":
        yield from _parquet_rows(path, form, choose)
        return
    text = find_text_format(path, form, options)
    names = _column_names(path, form, text)
    check_distinct(path, names)
    chosen = choose(names) if names or form.kind != "jsonl" else ()
    keys: list[Any] = [*chosen] if form.kind == "jsonl" else [names.index(c) for c in chosen]
    with _open_rows(path, form, text) as (_, records):
        for number, record in enumerate(records, start=1):
            if not names and record.value is not None:
                choose(names)  # objects without a key
            values = _values(record, keys)
            yield Row(number, record.line, values, record.reason, record.warning, record.raw)


@contextmanager
def _open_rows(
    path: Path, form: Format, text: TextFormat
) -> Iterator[tuple[list[str], Iterator[Record]]]:
    """Open a file of text: its column names, which JSON has in its rows alone, and its rows."""
    with open_text(path, form, text) as stream:
        if form.kind != "jsonl":
            delimiter = text.separator or form.separator
            yield csv_reader.read_csv_rows(read_lines(stream, path), delimiter, text, path)
            return
        if text.is_array:
            parts = split_array(stream, path)
        else:
            parts = enumerate(read_lines(stream, path), start=1)
        yield [], jsonl_reader.read_json_rows(parts, text.not_decoded)


def _column_names(path: Path, form: Format, text: TextFormat) -> list[str]:
    with _open_rows(path, form, text) as (names, records):
        return jsonl_reader.column_names(records, path) if form.kind == "jsonl" else names


def _parquet_rows(
    path: Path, form: Format, choose: Callable[[Sequence[str]], Sequence[str]]
) -> Iterator[Row]:
    schema = parquet_reader.read_schema(path, form.compression)
    check_distinct(path, schema.names)
    names = choose(schema.names)
    number = 0
    for batch in parquet_reader.read_parquet_batches(path, form.compression, schema, BLOCK_ROWS):
        columns = (python_values(batch.column(name)) for name in names)
        for values in zip(*columns, strict=True):
            number += 1
            yield Row(number, None, values, None)


def _values(record: Record, keys: Sequence[Any]) -> tuple[object, ...]:
    if record.value is None:
        return ()
    if isinstance(record.value, dict):
        return tuple(map(record.value.get, keys))
    return tuple(record.value[key] for key in keys)


def _format(path: Path) -> Format:
    form = format_of(path.name)
    if form is None:
        raise DataError(f"{path}: {unknown_kind(path.name)}")
    return form


def _schema_of(
    path: Path,
    form: Format,
    text: TextFormat,
    texts: Collection[str],
    watch: Callable[[Iterable[Record]], Iterator[Record]],
) -> tuple[pa.Schema, int]:
    if form.kind == "parquet":
        return parquet_reader.survey_parquet(path, form.compression)
    with _open_rows(path, form, text) as (names, records):
        if form.kind == "jsonl":
            return jsonl_reader.infer_schema(watch(records), path, texts)
        return csv_reader.infer_schema(names, watch(records), texts)


def _blocks(path: Path, survey: Survey, rows: int) -> Iterator[tuple[list[pa.Array], list[Record]]]:
    """Yield the columns of a few rows at a time, and these rows' places."""
    form, schema = _format(path), survey.arrow_schema
    if form.kind == "parquet":
        for batch in parquet_reader.read_parquet_batches(path, form.compression, schema, rows):
            columns, long = parquet_reader.empty_long_cells(batch)
            yield columns, [_TOO_LONG if is_long else _PLAIN for is_long in long]
        return
    with _open_rows(path, form, survey.text) as (names, records):
        is_json = form.kind == "jsonl"
        _check_fits(path, is_json or names == schema.names)
        texts = jsonl_reader.reject_non_text(records, schema) if is_json else records
        arrays_of = (jsonl_reader if is_json else csv_reader).to_arrow_columns
        for block in in_blocks(texts, rows):
            try:
                columns = arrays_of(block, schema)
            except (pa.ArrowException, OverflowError, KeyError):
                # Without the cause, which would quote the value.
                columns = []
            _check_fits(path, len(columns) == len(schema))
            yield columns, block


def _places(records: Sequence[Record], first: int, text: TextFormat) -> list[pa.Array]:
    columns = (
        range(first, first + len(records)),
        [record.line for record in records],
        [record.raw and original_bytes(record.raw, text.encoding) for record in records],
        [READ_STEP if record.reason else None for record in records],
        [record.reason for record in records],
    )
    return [pa.array(values, kind) for values, kind in zip(columns, PLACE.types, strict=True)]


def _block_schema(survey: Survey) -> pa.Schema:
    schema = jsonl_reader.remove_marks(survey.arrow_schema)
    return pa.schema([*schema, *PLACE], metadata=schema.metadata)


def _check_fits(path: Path, fits: bool) -> None:
    if not fits:
        raise DataError(f"{path}: changed while it was read; expected the file that was surveyed")
