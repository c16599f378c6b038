"""File formats by file name, rows as they stand in a file, and the survey of a whole file."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from pydantic import BaseModel, ConfigDict

from tasks.common.files import sha256_of
from tasks.common.parameter_types import FrozenModel

if TYPE_CHECKING:
    import pyarrow as pa

FileKind = Literal["csv", "tsv", "jsonl", "parquet"]
Compression = Literal["", "gzip", "zstd"]

EXPECTED = ".csv, .tsv, .jsonl, .json or .parquet, each plain or followed by .gz or .zst"

BLOCK_ROWS = 1_000

MAX_COLUMNS = 10_000

MAX_CELL = 2**24  # characters of a CSV cell, bytes of a Parquet cell

_MOST_WARNED_ROWS = 10  # named in one warning

# A block ends with the row that fills it, so that long rows make small blocks.
_BLOCK_BYTES = 2**23

_ENDING = re.compile(r"\.(csv|tsv|jsonl|json|parquet)(\.gz|\.zst)?\Z", re.IGNORECASE)
# By an ending that no table has.
_ADVICE = dict.fromkeys((".xlsx", ".xls", ".ods"), "; save the sheet as CSV in UTF-8") | {
    ".txt": "; if it is a table, its name may end with .csv"
}
_COMPRESSIONS: dict[str, Compression] = {"": "", ".gz": "gzip", ".zst": "zstd"}


@dataclass(frozen=True)
class Format:
    """What a file's name says about its content."""

    kind: FileKind
    compression: Compression

    @property
    def separator(self) -> str:
        """The usual one of its cells; empty if its kind has none."""
        return {"csv": ",", "tsv": "\t"}.get(self.kind, "")


class TextFormat(FrozenModel):
    """How the text of a file is read.

    Attributes:
        encoding: Name of Python's codec; empty for UTF-8.
        separator: Of the cells of a CSV or TSV; empty for the usual one of the file's ending.
        header: Whether a CSV or TSV has the names of its columns.
        has_separator_line: Whether its first line names the separator and is no row.
        is_array: Whether JSON is one array of rows.
    """

    encoding: str = ""
    separator: str = ""
    header: bool = True
    has_separator_line: bool = False
    is_array: bool = False

    @property
    def not_decoded(self) -> str:
        """The reason for which a row is rejected that the encoding does not have."""
        return f"not {self.encoding or 'UTF-8'}"

    @property
    def differences(self) -> str:
        """How a file is read otherwise than its name says; empty if it is not.

        An array has the rows that its objects would be as lines, and a first line that names the
        separator is none, so these do not count.
        """
        parts = [self.encoding] if self.encoding else []
        parts += [f"separator {self.separator!r}"] if self.separator else []
        return ", ".join(parts if self.header else [*parts, "no header"])


class Record(NamedTuple):
    """A row as it stands in a file.

    Attributes:
        line: The line on which it starts, counted from 1; `None` in a file without lines.
        size: Its bytes.
        value: Its cells, or its JSON object; `None` if it could not be parsed.
        raw: Its bytes without the final line break, if it could not be parsed.
        reason: Why it is rejected, without any text of the row; `None` if it is not.
        warning: What looks wrong in a row that is not rejected, without any text of it.
    """

    line: int | None
    size: int
    value: Any
    raw: bytes | None = None
    reason: str | None = None
    warning: str | None = None


class RowWarnings:
    """The rows of a file that look wrong and are read all the same: the first ones, and how many.

    Memory does not grow with the file.
    """

    def __init__(self) -> None:
        self._rows: dict[str, list[str]] = {}
        self._more: Counter[str] = Counter()

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yield the records of a file from its first row on, and keep their warnings."""
        for number, record in enumerate(records, start=1):
            self.add(number, record.line, record.warning)
            yield record

    def add(self, number: int, line: int | None, warning: str | None) -> None:
        """Keep the warning of a row, if it has one."""
        if not warning:
            return
        shown = self._rows.setdefault(warning, [])
        if len(shown) < _MOST_WARNED_ROWS:
            shown.append(f"{number} (line {line})" if line else str(number))
        else:
            self._more[warning] += 1

    def messages(self, name: object) -> tuple[str, ...]:
        """Return a line for each kind of warning, which names the file and the first rows."""
        return tuple(
            f"{name}: row {', '.join(rows)}"
            + (f" and {more} more" if (more := self._more[warning]) else "")
            + f": {warning}"
            for warning, rows in self._rows.items()
        )


def format_of(name: str) -> Format | None:
    """Return the format by the ending of a file's name, or None if it is not supported."""
    found = _ENDING.search(name)
    if found is None:
        return None
    ending = found[1].lower()
    kind = cast("FileKind", "jsonl" if ending == "json" else ending)
    return Format(kind, _COMPRESSIONS[(found[2] or "").lower()])


def unknown_kind(name: str, more: str = "") -> str:
    """Return that a file's ending is none of a table, what was expected, and what to do.

    Args:
        name: Its name.
        more: Further endings that are expected.
    """
    ending = PurePath(name).suffix
    advice = _ADVICE.get(ending.lower(), "")
    return f"unknown kind of file {ending!r}; expected {EXPECTED}{more}{advice}"


def stem_of(name: str) -> str:
    """Return a file's name without the endings of its format."""
    return _ENDING.sub("", name)


def in_blocks(records: Iterable[Record], rows: int = BLOCK_ROWS) -> Iterator[list[Record]]:
    """Yield lists of at most `rows` records, fewer where these are long; none is empty."""
    block: list[Record] = []
    size = 0
    for record in records:
        block.append(record)
        size += record.size
        if len(block) == rows or size >= _BLOCK_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block


def without_break(line: bytes) -> bytes:
    r"""Return a line, or several, without the final `\n`, `\r\n` or `\r`."""
    return line.removesuffix(b"\n").removesuffix(b"\r")


class Row(NamedTuple):
    """Some values of a row.

    Attributes:
        number: Its number in the file, counted from 1 over all rows.
        line: The line on which it starts; None in a file without lines.
        values: Its values in the chosen columns; empty if it could not be parsed.
        reason: Why it could not be parsed, without any text of the row; None if it could.
        warning: What looks wrong in it all the same.
        raw: Its bytes without the final line break, if it could not be parsed.
    """

    number: int
    line: int | None
    values: tuple[object, ...]
    reason: str | None
    warning: str | None = None
    raw: bytes | None = None


class Survey(BaseModel):
    """What one reading of a whole file found.

    Attributes:
        sha256: Digest of the file as it lies there.
        size: Of the file, in bytes.
        modified_ns: Its modification time, in nanoseconds.
        changed_ns: When the system last noted a change of it, in nanoseconds; 0 if unknown.
        rows: All its rows, malformed ones included.
        columns: The Arrow schema of its columns, serialised.
        warnings: A line for each kind of row that looks wrong and is read all the same.
        text: How its text is read.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64"
    )

    sha256: str
    size: int
    modified_ns: int
    changed_ns: int = 0
    rows: int
    columns: bytes
    warnings: tuple[str, ...] = ()
    text: TextFormat = TextFormat()

    @property
    def arrow_schema(self) -> "pa.Schema":
        import pyarrow as pa

        return pa.ipc.read_schema(pa.py_buffer(self.columns))


class SurveyedFile:
    """A file that is read after its survey, and must be the same then.

    Args:
        path: The file.
        survey: What the survey found.
    """

    def __init__(self, path: Path, survey: Survey) -> None:
        self._path, self._survey = path, survey
        self._changed_ns = survey.changed_ns

    def is_unchanged(self) -> bool:
        """Return whether the file is still the one that was surveyed.

        Raises:
            OSError: If it cannot be read.
        """
        status = self._path.stat()
        known = (self._survey.size, self._survey.modified_ns)
        if (status.st_size, status.st_mtime_ns) != known:
            return False
        if status.st_ctime_ns != self._changed_ns:
            # Another file of equal size and time, or the same one with another mode or hard link.
            if sha256_of(self._path) != self._survey.sha256:
                return False
            self._changed_ns = status.st_ctime_ns
        return True
