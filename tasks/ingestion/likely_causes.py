"""What is probably wrong with a file of which nothing can be read; no text of a row is quoted."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tasks.ingestion.formats import Record, format_of
from tasks.ingestion.text_format import ReadOptions, find_text_format

# As they are given to --separator.
_SEPARATORS = {";": "';'", "\t": "tab", "|": "'|'", ",": "','"}

_LONGEST_NAME = 40  # characters; a longer cell is hardly the name of a column
_NUMBER = re.compile(r"-?\d+([.,]\d+)?")

# By the first bytes of a file.
_KINDS = {
    b"\x1f\x8b": "probably gzip; expected a name that ends with .gz",
    b"\x28\xb5\x2f\xfd": "probably zstd; expected a name that ends with .zst",
    b"PK\x03\x04": "probably a zip archive or an Excel workbook; expected a table as its name says",
    b"PAR1": "probably Parquet; expected a name that ends with .parquet",
}

_ONE_CELL = re.compile(r"1 cells; expected (\d+)")

_COMMA = "it has a comma after an object; expected the object alone"

# By a part of the reason for which a reader refuses a row.
_EXPECTED = {
    "UTF-8": "UTF-8, or its encoding in --encoding",
    "quote that is": "a closing quote, or the text in quotes with its own quotes doubled",
    "after a closing quote": "the text in quotes with its own quotes doubled",
    "outside quotes": "the text in quotes",
    "a cell longer": "a shorter one",
    "twice": "each key once",
    "object": "an object on each line",
    "JSON": "an object on each line",
    "nested": "fewer levels",
    "surrogate": "both halves of a character",
    "too large": "a number of 64 bits",
    "not CSV": "a row as the file's name says",
    "not ": "another encoding in --encoding",  # not cp1252
}


class Readable:
    """Counts the rows of a file that can be read, and keeps the first that cannot."""

    def __init__(self) -> None:
        self.rows = 0
        self.first_refused: Record | None = None

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yield the records of a file, and count them."""
        for record in records:
            if record.reason is None:
                self.rows += 1
            else:
                self.first_refused = self.first_refused or record
            yield record


def describe_refused_file(first: Record) -> str:
    """Return why no row of a file can be read, by its first row."""
    raw, reason = first.raw or b"", first.reason or ""
    if "cells" not in reason:
        cause = likely_cause(raw, reason) or "expected rows as its name says"
    elif kind := _other_kind(raw):
        cause = f"it is {kind}"
    else:
        cause = "its header line has another number of columns; expected as many as the rows have"
    return f"no row can be read, the first (line {first.line}): {reason}; {cause}"


def describe_refused_row(raw: bytes, reason: str) -> str:
    """Return why a row cannot be read, its likely cause if there is one, and what was expected.

    Args:
        raw: The row's bytes.
        reason: Why the reader refuses it.
    """
    if cause := likely_cause(raw, reason):
        return f"{reason}; {cause}"
    expected = (expected for part, expected in _EXPECTED.items() if part in reason)
    return reason if "expected" in reason else f"{reason}; expected {next(expected, 'a row')}"


def header_hint(path: Path, names: Sequence[str]) -> str:
    """Return a remark if the header line of a CSV or TSV is none of its kind, or nothing."""
    form = format_of(path.name)
    if form is None or form.kind not in ("csv", "tsv"):
        return ""
    if kind := _other_kind(",".join(names).encode(errors="surrogateescape")):
        return f"; the file is {kind}"
    for separator in _SEPARATORS:
        # A name in quotes may have a comma in a table of commas.
        if any(separator in name for name in names) and (separator != "," or len(names) == 1):
            return f"; {_asked(separator)}"
    if any(len(name) > _LONGEST_NAME or _NUMBER.fullmatch(name) for name in names):
        return "; is its first line a row? (--no-header)"
    return ""


def separator_hint(path: Path, options: ReadOptions) -> str:
    """Return a remark if the option `separator` is another one than the file has, or nothing.

    Args:
        path: A file with a row of too many or too few cells.
        options: How its text is read.

    Raises:
        OSError: If the file cannot be read.
        DataError: If it is damaged.
    """
    form, given = format_of(path.name), options.separator
    if form is None or given is None:
        return ""
    without = options.model_copy(update={"separator": None})
    found = find_text_format(path, form, without).separator or form.separator
    if found == given or found not in _SEPARATORS:
        return ""
    shown = _SEPARATORS.get(given, repr(given))
    return (
        f"; read with --separator {shown}, the file seems to be separated by {_SEPARATORS[found]}"
    )


def likely_cause(raw: bytes, reason: str) -> str:
    """Return what is probably wrong with a row that cannot be read, or with its file, or nothing.

    Args:
        raw: The row's bytes.
        reason: Why the reader refuses it.
    """
    if reason in ("not UTF-8", "not JSON") and (kind := _other_kind(raw)):
        return f"it is {kind}"
    if reason == "not UTF-8":
        return "it is probably Latin-1 or Windows-1252; expected UTF-8, or --encoding cp1252"
    if found := _ONE_CELL.fullmatch(reason):
        return _other_separator(raw, int(found[1]) - 1)
    if reason in ("not JSON", "not an object"):
        return _json_cause(raw.decode(errors="replace").strip())
    return ""


def _other_kind(start: bytes) -> str:
    """Return what kind of file starts so, if it is no text in UTF-8, and what was expected."""
    kinds = (kind for magic, kind in _KINDS.items() if start.startswith(magic))
    if b"\0" not in start:
        return next(kinds, "")
    order = "be" if start.startswith(b"\0") else "le"
    return next(kinds, f"probably UTF-16; expected UTF-8, or --encoding utf-16-{order}")


def _asked(separator: str) -> str:
    shown = _SEPARATORS[separator]
    return f"separated by {shown}? (--separator {shown})"


def _other_separator(raw: bytes, expected: int) -> str:
    for separator in _SEPARATORS:
        if raw.count(separator.encode()) == expected:
            return _asked(separator)
    return ""


def _json_cause(text: str) -> str:
    if text.startswith("["):
        return "it is an array; expected an object on each line, or one array of objects"
    if text == "},":
        return _COMMA
    if not text.startswith("{"):
        return ""
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        return _syntax_cause(text, error)
    except (RecursionError, ValueError):  # nested too deeply, or a number of too many digits
        return ""
    rest = text[end:].lstrip()
    if rest == ",":
        return _COMMA
    return "it has several objects; expected one on each line" if rest.startswith("{") else ""


def _syntax_cause(text: str, error: json.JSONDecodeError) -> str:
    at = text[error.pos : error.pos + 1]
    if at == "'":
        return "it has single quotes; expected double quotes"
    if not at or error.msg.startswith("Unterminated string"):
        return "it probably has objects over several lines, or was cut; expected one on each line"
    if at == "}" and error.msg.startswith("Expecting property name"):
        return "it has a comma after the last value of an object; expected none there"
    if error.msg.startswith("Invalid control character"):
        return "it has a control character, such as a tab, in a text; expected its escape"
    return ""
