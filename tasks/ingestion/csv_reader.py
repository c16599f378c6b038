"""The rows of CSV and TSV files, each with its place; malformed ones with their bytes."""

import csv
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from tasks.common.errors import DataError
from tasks.ingestion.column_types import CellTypes, cells_as
from tasks.ingestion.formats import Record, in_blocks, without_break

# Bytes that a record may pull before it is given up, and characters of its longest field. An
# unclosed quote would pull the rest of the file.
LONGEST_RECORD = 2**24

# Bytes that may be read again after records that were given up, whatever the length of the file;
# another 8 times what lies before is free. Only a file made of unclosed quotes needs more.
_READ_AGAIN = 2**28

# By what Python's csv says: https://github.com/python/cpython/blob/3.11/Modules/_csv.c
_REASONS = {
    "unexpected end of data": "a quote that is never closed",
    "record larger": f"a quote that is not closed within {LONGEST_RECORD} bytes",
    "expected after": "text after a closing quote",
    "new-line character": "a carriage return outside quotes",
    "field larger": f"a cell longer than {LONGEST_RECORD} characters",
}


class _Lines(Iterator[str]):
    """The lines of a file as `csv.reader` pulls them, remembered until their record is settled."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self.line = 1
        self.taken: list[bytes] = []
        self.size = 0
        self.utf8 = True
        self._lines = lines
        self._again: deque[bytes] = deque()
        self._passed = 0
        self._read_again = 0

    def __next__(self) -> str:
        if self.size > LONGEST_RECORD:
            raise csv.Error("record larger than limit")
        line = self._again.popleft() if self._again else next(self._lines)
        self.taken.append(line)
        self.size += len(line)
        try:
            return line.decode()
        except UnicodeDecodeError:
            self.utf8 = False
            return line.decode(errors="surrogateescape")

    def settled(self, value: list[str] | None, reason: str | None = None) -> Record:
        """End a record that has all lines it took."""
        raw = None if reason is None else without_break(b"".join(self.taken))
        record = Record(self.line, self.size, value, raw, reason)
        self._forget(len(self.taken))
        return record

    def given_up(self, reason: str) -> Record:
        """Reject the first line alone; the others are read again."""
        first, *others = self.taken
        self._again.extendleft(reversed(others))
        self._read_again += self.size - len(first)
        record = Record(self.line, len(first), None, without_break(first), reason)
        self.size = len(first)
        self._forget(1)
        return record

    @property
    def exhausting(self) -> bool:
        return self._read_again > _READ_AGAIN + 8 * self._passed

    def _forget(self, lines: int) -> None:
        self.line += lines
        self._passed += self.size
        self.taken, self.size, self.utf8 = [], 0, True


def read(lines: Iterator[bytes], delimiter: str, path: Path) -> tuple[list[str], Iterator[Record]]:
    """Return the names of the columns and the rows below them, malformed ones included.

    Blank lines are no rows.

    Raises:
        DataError: If there is no header line; while rows are read, if nearly each of them has
            a quote that is never closed.
    """
    # It holds for the whole process, and its default of 131,072 is too short for a document. It
    # is only ever raised, and always to the same value, so that two passes agree.
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_RECORD))
    records = _records(_Lines(lines), delimiter, path)
    header = next(records, None)
    if header is None:
        raise DataError(f"{path}: no header line; expected the names of the columns")
    if header.value is None:
        raise DataError(f"{path}: line {header.line}: {header.reason}; expected a header line")
    return header.value, records


def schema_of(
    names: Sequence[str], records: Iterator[Record], texts: Collection[str]
) -> tuple[pa.Schema, int]:
    """Return the schema that fits every cell, with `texts` as text, and the number of rows."""
    columns = [None if name in texts else CellTypes() for name in names]
    rows = 0
    for block in in_blocks(records):
        rows += len(block)
        cells = zip(*(record.value for record in block if record.value), strict=True)
        for types, column in zip(columns, cells, strict=False):
            if types:
                types.add(column)
    kinds = [types.type if types else pa.string() for types in columns]
    return pa.schema(list(zip(names, kinds, strict=True))), rows


def arrays_of(block: Sequence[Record], schema: pa.Schema) -> list[pa.Array]:
    """Return the columns of some rows in the types of `schema`, nulls in malformed rows.

    Raises:
        pa.ArrowInvalid: If a cell does not fit.
    """
    missing = (None,) * len(schema)
    columns = zip(*(record.value or missing for record in block), strict=True)
    return [cells_as(cells, kind) for cells, kind in zip(columns, schema.types, strict=True)]


def _records(lines: _Lines, delimiter: str, path: Path) -> Iterator[Record]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    width = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield lines.given_up(_reason(error))
            if lines.exhausting:
                raise DataError(
                    f"{path}: line {lines.line}: too many quotes that are never closed; "
                    "expected a table"
                ) from error
            continue
        width = width or len(cells)
        if not cells:
            lines.settled(cells)
        elif not lines.utf8:
            yield lines.settled(None, "not UTF-8")
        elif len(cells) != width:
            yield lines.settled(None, f"{len(cells)} cells; expected {width}")
        else:
            yield lines.settled(cells)


def _reason(error: csv.Error) -> str:
    said = str(error)
    return next((reason for key, reason in _REASONS.items() if key in said), "not CSV")
