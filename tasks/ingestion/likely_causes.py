"""What is probably wrong with a file of which nothing can be read; no text of a row is quoted."""

from collections.abc import Iterable, Iterator, Sequence

from tasks.ingestion.formats import Record

_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars", ",": "commas"}


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
    return f"no row can be read, the first (line {first.line}): {first.reason}; {_cause(first)}"


def separator_hint(names: Sequence[str]) -> str:
    """Return a remark if a header line of one cell seems to have another separator, or nothing."""
    if len(names) != 1:
        return ""
    for separator, plural in _SEPARATORS.items():
        if separator in names[0]:
            return f"; the header line has {plural}, which are no separators of this kind of file"
    return ""


def _cause(first: Record) -> str:
    raw, reason = (first.raw or b"").lstrip(), first.reason or ""
    if "UTF-8" in reason:
        coding = "UTF-16" if b"\0" in raw else "Latin-1 or Windows-1252"
        return f"it is probably {coding}; expected UTF-8"
    if "cells" in reason:
        return "its header line has another number of columns; expected as many as the rows have"
    if raw.startswith(b"["):
        return "it is probably one JSON array; expected an object on each line"
    if raw.startswith(b"{"):
        return "it probably has objects over several lines; expected one on each line"
    return "expected rows as its name says"
