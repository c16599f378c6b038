"""Split a JSON array into its elements, as a stream: their bytes and the lines they start on."""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tasks.common.cancellation import raise_if_stopped
from tasks.common.errors import DataError
from tasks.ingestion.compression import MAX_LINE_BYTES

_BUFFER_BYTES = 2**20
_BLANK = b" \t\r\n"

# A string, to its closing quote if that comes before the end of the line; or what has a meaning
# outside of strings. A line end within a string is not JSON.
_TOKEN = re.compile(rb'"[^"\\\r\n]*+(?:\\[^\r\n][^"\\\r\n]*+)*+("?)|[\[\]{},]')


_MARGIN = re.compile(rb"(?:[ \t\r\n]*[\r\n])?([ \t]*)")


def split_array(stream: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the elements of an array, malformed ones included, each with the number of its line.

    Memory holds one element. One whose string is not closed ends where an object begins on a line
    of its own, as far from the margin as its own; without such a line it has the rest.

    Args:
        stream: A file in UTF-8 that holds one array, at its start.
        path: Named in errors.

    Raises:
        DataError: If the array is not closed, if something follows it, or if an element is longer
            than `MAX_LINE_BYTES`.
        StoppedError: If the run is to stop.
    """
    return _ArraySplitter(stream, path).elements()


class _ArraySplitter:
    """Reads an array through a buffer; positions count from the start of the current element."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream, self._path = stream, path
        self._buffer = b""
        self._start = 0  # of the element, in the buffer
        self._line = 1  # of that start

    def elements(self) -> Iterator[tuple[int, bytes]]:
        """Yield each element with its line."""
        self._read()
        start = self._buffer.removeprefix(codecs.BOM_UTF8).lstrip(_BLANK)
        if not start.startswith(b"["):
            raise DataError(f"{self._path}: no JSON array; expected one")
        self._drop(len(self._buffer) - len(start) + 1)
        end_mark = b""
        while end_mark != b"]":
            end = self._find_end()
            element = self._slice(0, end)
            begin = len(element) - len(element.lstrip(_BLANK))
            yield self._line + element.count(b"\n", 0, begin), element.strip(_BLANK)
            end_mark = self._slice(end, end + 1)
            self._drop(end + 1)
        self._check_nothing_follows()

    def _find_end(self) -> int:
        """Return where the element ends; read on as far as needed."""
        depth = at = 0
        while True:
            for token in _TOKEN.finditer(self._buffer, self._start + at):
                kind = token[0]
                at = token.end() - self._start
                if kind.startswith(b'"'):
                    if token[1]:
                        continue
                    if self._slice(at, at + 2) not in (b"", b"\\"):
                        return self._end_of_damaged(at)
                    at = token.start() - self._start  # it may go on in what is not read yet
                    break
                if not depth and kind in b",]":
                    return at - 1
                depth += 1 if kind in b"[{" else -1 if kind in b"]}" and depth else 0
            if not self._read():
                raise self._not_closed()

    def _end_of_damaged(self, at: int) -> int:
        """Return where an element ends that has a string without an end before a position."""
        margin = _MARGIN.match(self._buffer, self._start)
        indent = re.escape(margin[1]) if margin else b""
        following = re.compile(rb",[ \t]*[\r\n]+" + indent + rb"\{")
        while True:
            if found := following.search(self._buffer, self._start + at):
                return found.start() - self._start
            if not self._read():
                rest = self._slice(0, len(self._buffer)).rstrip(_BLANK)
                if not rest.endswith(b"]"):
                    raise self._not_closed()
                return len(rest) - 1

    def _not_closed(self) -> DataError:
        return DataError(
            f"{self._path}: the JSON array that its line {self._line} belongs to is not closed; "
            "expected ] at its end"
        )

    def _slice(self, first: int, last: int) -> bytes:
        return self._buffer[self._start + first : self._start + last]

    def _read(self) -> bool:
        """Add bytes to the buffer, as many as it needs; return whether there were any."""
        raise_if_stopped()
        rest = self._buffer[self._start :]
        if len(rest) > MAX_LINE_BYTES:
            raise DataError(
                f"{self._path}: the element on line {self._line} is longer than {MAX_LINE_BYTES} "
                "bytes; expected shorter"
            )
        # As much again as there is, or its bytes would be copied for each block.
        chunk = self._stream.read(max(_BUFFER_BYTES, len(rest)))
        self._buffer, self._start = rest + chunk, 0
        return bool(chunk)

    def _drop(self, size: int) -> None:
        self._line += self._buffer.count(b"\n", self._start, self._start + size)
        self._start += size

    def _check_nothing_follows(self) -> None:
        while True:
            rest = self._slice(0, len(self._buffer))
            if text := rest.lstrip(_BLANK):
                line = self._line + rest.count(b"\n", 0, len(rest) - len(text))
                raise DataError(
                    f"{self._path}: line {line}: text after the JSON array; expected one "
                    "array, or an object on each line"
                )
            self._drop(len(self._buffer) - self._start)
            if not self._read():
                return
