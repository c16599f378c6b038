"""CSV and TSV reader: rows with line numbers, malformed rows with their bytes, column types."""

import csv
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import pyarrow as pa

from tasks.common.errors import DataError
from tasks.common.text import columns_called
from tasks.ingestion.column_types import CsvTypeInference, cast_cells
from tasks.ingestion.formats import (
    BLOCK_ROWS,
    MAX_CELL,
    MAX_COLUMNS,
    Record,
    TextFormat,
    in_blocks,
    without_break,
)
from tasks.ingestion.likely_causes import describe_refused_file, likely_cause

# Also the most characters of a field. An unclosed quote would read the rest of the file.
MAX_RECORD_BYTES = MAX_CELL

# Bytes that may be read again after records without an end, whatever the length of the file, in
# addition to 8 times the bytes before them. Only a file made of unclosed quotes needs more.
_FREE_REREAD_BYTES = 2**28

# By a part of the message of Python's csv: https://github.com/python/cpython/blob/3.11/Modules/_csv.c
_REASONS = {
    "unexpected end of data": "a quote that is never closed",
    "record larger": f"a quote that is not closed within {MAX_RECORD_BYTES} bytes",
    "expected after": "text after a closing quote",
    "field larger": f"a cell longer than {MAX_RECORD_BYTES} characters",
}

# A line end of another kind than those before, in the middle of a row.
_CUTS = {b"\r": "a carriage return outside quotes", b"\n": "a line feed outside quotes"}

_MIXED_ENDS = (
    "mixed line ends, of which this row has another than those before; expected LF or CRLF"
)

_HOLDS_ROWS = (
    "a quoted cell holds whole lines of the table; expected its closing quote on the same line"
)


class _LineBuffer(Iterator[str]):
    """The lines of a file for `csv.reader`, kept until their record ends or is rejected.

    A file may end some rows with a line feed and others with a carriage return. One that ended no
    row so far ends no line within quotes either.
    """

    def __init__(self, lines: Iterator[bytes], text: TextFormat) -> None:
        self.line = 1 + len(list(islice(lines, int(text.has_separator_line))))
        self.not_decoded = text.not_decoded
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self.utf8 = True
        self._lines = lines
        self._reread: deque[bytes] = deque()
        self._done_bytes = 0
        self._reread_bytes = 0
        self._ends: set[bytes] = set()  # of the records so far
        self._warning: str | None = None

    def __next__(self) -> str:
        if self._pending_bytes > MAX_RECORD_BYTES:
            raise csv.Error("record larger than limit")
        line = self._reread.popleft() if self._reread else next(self._lines)
        self._pending.append(line)
        self._pending_bytes += len(line)
        try:
            return line.decode()
        except UnicodeDecodeError:
            self.utf8 = False
            return line.decode(errors="surrogateescape")

    @property
    def pending(self) -> int:
        """The number of lines that no record has yet."""
        return len(self._pending)

    @property
    def cut(self) -> str | None:
        """Why the last line may be cut in the middle of a row; None if its end is a usual one."""
        end = self._pending[-1][-1:]
        return None if end in self._ends else _CUTS.get(end)

    def end_record(
        self, value: list[str] | None, reason: str | None = None, warning: str | None = None
    ) -> Record:
        """Return the record made of all pending lines."""
        if (end := self._pending[-1][-1:]) not in self._ends and end in _CUTS and value != []:
            self._ends.add(end)
            self._warning = _MIXED_ENDS if self._ends.issuperset(_CUTS) else None
        if self._warning and value and not warning:
            warning, self._warning = self._warning, None
        raw = None if reason is None else without_break(b"".join(self._pending))
        record = Record(self.line, self._pending_bytes, value, raw, reason, warning)
        self._drop_pending()
        return record

    def reject_line(self, reason: str) -> Record:
        """Return the first pending line as a rejected record; the others are read again."""
        ends = (number for number, line in enumerate(self._pending, 1) if line[-1:] in self._ends)
        return self.reject_lines(next(ends, len(self._pending)), reason)

    def reject_lines(self, count: int, reason: str) -> Record:
        """Return the first pending lines as a rejected record; the others are read again."""
        others = self._pending[count:]
        del self._pending[count:]
        self._reread.extendleft(reversed(others))
        reread = sum(map(len, others))
        self._reread_bytes += reread
        self._pending_bytes -= reread
        return self.end_record(None, reason)

    @property
    def rereads_too_much(self) -> bool:
        return self._reread_bytes > _FREE_REREAD_BYTES + 8 * self._done_bytes

    def _drop_pending(self) -> None:
        self.line += 1
        if len(self._pending) > 1:
            self.line += sum(line[-1:] in self._ends for line in self._pending[:-1])
        self._done_bytes += self._pending_bytes
        self._pending, self._pending_bytes, self.utf8 = [], 0, True


def read_csv_rows(
    lines: Iterator[bytes], delimiter: str, text: TextFormat, path: Path
) -> tuple[list[str], Iterator[Record]]:
    """Return the column names and the rows, malformed ones included; blank lines are skipped.

    Without a header line, and of several columns without a name, each is called by its place, such
    as `column_3`.

    Raises:
        DataError: If there is no header line, or one of too many columns, or without one no row
            that can be read; during iteration, if nearly every row has a quote that is never
            closed.
    """
    # Process-wide; the default of 131,072 is too short for a document. It is never lowered, and
    # always raised to the same value, so that two passes agree.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_RECORD_BYTES))
    records = _parse_records(_LineBuffer(lines, text), delimiter, path)
    if text.header:
        first = _read_header(records, path)
        names = _name_columns(first.value)
    else:
        first, records = _find_first_row(records, path)
        names = [f"column_{place}" for place in range(1, len(first.value) + 1)]
    if len(names) > MAX_COLUMNS:
        raise DataError(
            f"{path}: line {first.line}: {len(names)} columns; expected at most {MAX_COLUMNS}"
        )
    return names, records


def _read_header(records: Iterator[Record], path: Path) -> Record:
    header = next(records, None)
    if header is None:
        raise DataError(f"{path}: no header line; expected the names of the columns")
    if header.value is None:
        cause = likely_cause(header.raw or b"", header.reason or "")
        raise DataError(
            f"{path}: line {header.line}: {header.reason}; expected a header line"
            + (f" ({cause})" if cause else "")
        )
    return header


def _find_first_row(records: Iterator[Record], path: Path) -> tuple[Record, Iterator[Record]]:
    """Return the first row that can be read, which tells the columns, and all rows again."""
    before: list[Record] = []
    for record in islice(records, BLOCK_ROWS):
        before.append(record)
        if record.value is not None:
            return record, chain(before, records)
    if not before:
        raise DataError(f"{path}: no row; expected one, since there is no header line")
    raise DataError(f"{path}: {describe_refused_file(before[0])}")


def _name_columns(names: Sequence[str]) -> list[str]:
    """Return the names; several columns without one, as spreadsheets leave them, get one."""
    if names.count("") < 2:
        return list(names)
    named, taken = list(names), set(names)
    for place, name in enumerate(names):
        if not name:
            new = f"column_{place + 1}"
            while new in taken:
                new += "_"
            taken.add(new)
            named[place] = new
    return named


def infer_schema(
    names: Sequence[str], records: Iterator[Record], texts: Collection[str]
) -> tuple[pa.Schema, int]:
    """Return the schema that fits all cells, and the row count.

    The columns that `texts` mean are strings.
    """
    meant = {name for text in texts for name in columns_called(names, text)}
    columns = [None if name in meant else CsvTypeInference() for name in names]
    rows = 0
    for block in in_blocks(records):
        rows += len(block)
        cells = zip(*(record.value for record in block if record.value), strict=True)
        for types, column in zip(columns, cells, strict=False):
            if types:
                types.add(column)
    kinds = [types.type if types else pa.string() for types in columns]
    return pa.schema(list(zip(names, kinds, strict=True))), rows


def to_arrow_columns(block: Sequence[Record], schema: pa.Schema) -> list[pa.Array]:
    """Return the columns of some rows in the types of `schema`, with nulls for malformed rows.

    Raises:
        pa.ArrowInvalid: If a cell does not fit.
    """
    missing = (None,) * len(schema)
    columns = zip(*(record.value or missing for record in block), strict=True)
    return [cast_cells(cells, kind) for cells, kind in zip(columns, schema.types, strict=True)]


def _parse_records(lines: _LineBuffer, delimiter: str, path: Path) -> Iterator[Record]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    width = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield lines.reject_line(_reason(error))
            if lines.rereads_too_much:
                raise DataError(
                    f"{path}: line {lines.line}: too many quotes that are never closed; "
                    "expected a table"
                ) from error
            continue
        width = width or len(cells)
        if not cells:
            lines.end_record(cells)
        elif len(cells) != width:
            yield _reject_cells(reader, lines, cells, width)
        elif not lines.utf8:
            yield lines.end_record(None, lines.not_decoded)
        else:
            swallows = any(_holds_rows(cell, delimiter, width) for cell in cells if "\n" in cell)
            yield lines.end_record(cells, warning=_HOLDS_ROWS if swallows else None)


def _reject_cells(
    reader: Iterator[list[str]], lines: _LineBuffer, cells: Sequence[str], width: int
) -> Record:
    """Return the record of a row that has another number of cells than the header line."""
    count, utf8 = lines.pending, lines.utf8
    if (cut := lines.cut) and _is_one_row(reader, lines, cells, width):
        return lines.end_record(None, cut)
    reason = f"{len(cells)} cells; expected {width}" if utf8 else lines.not_decoded
    return lines.reject_lines(count, reason)


def _is_one_row(
    reader: Iterator[list[str]], lines: _LineBuffer, cells: Sequence[str], width: int
) -> bool:
    """Read on to the next usual line end, and return whether all this is one row at most."""
    found = len(cells)
    while found < width and lines.cut:
        try:
            found += max(len(next(reader)), 1) - 1
        except (StopIteration, csv.Error):
            return False
    return found <= width


def _holds_rows(cell: str, delimiter: str, width: int) -> bool:
    """Return whether a cell's lines look like rows, as after a stray quote at a text's start."""
    first, *inner, _last = cell.split("\n")
    # Texts have commas, but hardly tabs: two lines are enough then.
    lines = [first, *inner] if delimiter == "\t" else inner
    return width > 1 and bool(lines) and all(line.count(delimiter) == width - 1 for line in lines)


def _reason(error: csv.Error) -> str:
    return next((reason for key, reason in _REASONS.items() if key in str(error)), "not CSV")
