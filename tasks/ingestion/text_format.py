"""How a file's text is read: the options of a run, what its first bytes show, and its encoding."""

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, cast

from pydantic import BeforeValidator

from tasks.common.errors import DataError, ParameterError
from tasks.common.parameter_types import FrozenModel, about
from tasks.ingestion.compression import open_compressed
from tasks.ingestion.formats import Format, TextFormat, format_of

# Of the decompressed bytes: what is found in them holds for the file.
_SAMPLE_BYTES = 2**16
_SAMPLE_ROWS = 200
_BUFFER_BYTES = 2**20

# In the order of preference. The first one is that of a .csv in which nothing else is found.
_SEPARATORS = (",", ";", "\t", "|")
_TABS = ("tab", r"\t")

# As Excel reads and writes it, in the first line.
_SEPARATOR_LINE = re.compile(r'\A"?sep=([^\w\r\n"])"?(?:[\r\n]|\Z)', re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*(?:"|\Z)')
_LINE_END = re.compile(r"\r\n|\r|\n")

# The longer ones first: that of UTF-32 starts like one of UTF-16.
_MARKS = {
    codecs.BOM_UTF8: "",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
# Python's names without a byte order would write a mark in front of each row.
_BYTE_ORDERS = {"utf-8": "", "utf-8-sig": "", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}
# Codecs of Python whose text is no text of files.
_NO_ENCODINGS = {"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape"}

_UNDECODABLE = "millstream-undecodable"
_FIRST_LOW_SURROGATE = 0xDC00
_ESCAPED = re.compile("([\udc00-\udcff]+)")


def _check_encoding(name: object) -> object:
    if isinstance(name, str):
        try:
            known = "a".encode(name) and codecs.lookup(name).name
        except (LookupError, ValueError):  # unknown, or no text; a name with a NUL
            known = ""
        if not known or known.replace("-", "_") in _NO_ENCODINGS:
            raise ParameterError(
                f"encoding: {name!r} is no text encoding of Python; expected one such as cp1252, "
                "latin-1 or utf-16"
            )
    return name


def _check_separator(separator: object) -> object:
    if not isinstance(separator, str):
        return separator
    if separator in _TABS:
        return "\t"
    if not re.fullmatch(r'[^\w\r\n"]', separator):
        raise ParameterError(
            f"separator: {separator!r}; expected one character that is no letter, digit or quote, "
            "such as ';', or the word tab"
        )
    return separator


Separator = Annotated[
    Annotated[str, BeforeValidator(_check_separator)] | None,
    about(
        "What separates the cells of a CSV or TSV, one character or the word tab; found by itself "
        "if it is a comma, semicolon, tab or vertical bar."
    ),
]
Encoding = Annotated[
    Annotated[str, BeforeValidator(_check_encoding)] | None,
    about(
        "Encoding of files without a byte order mark, such as cp1252 of Western European Windows; "
        "UTF-8 if none is named."
    ),
]
Header = Annotated[
    bool,
    about(
        "Whether a CSV or TSV begins with the names of its columns; else these are column_1, "
        "column_2 and so on."
    ),
]


class ReadOptions(FrozenModel):
    """What a run says about the text of its files: parameters of flows that read tables."""

    separator: Separator = None
    encoding: Encoding = None
    header: Header = True


AS_FOUND = ReadOptions()


def find_text_format(path: Path, form: Format, options: ReadOptions) -> TextFormat:
    """Return how the text of a file is read, by the options and by its first bytes.

    A byte order mark wins over the option `encoding`: no other text starts so. The option
    `separator` wins over a first line such as `sep=;`, and this over what is found.

    Raises:
        OSError: If it cannot be opened or read.
        DataError: If it is found truncated or damaged.
    """
    if form.kind == "parquet":
        return TextFormat()
    with open_compressed(path, form.compression) as stream:
        start = stream.read(_SAMPLE_BYTES)
    encoding = _find_encoding(start, options.encoding)
    # What the cut made of the last character is no matter.
    text = start.decode(encoding or "utf-8", errors="replace").removeprefix("\ufeff")
    if form.kind == "jsonl":
        return TextFormat(encoding=encoding, is_array=_is_array(text))
    line = _SEPARATOR_LINE.match(text)
    separator = options.separator or (line[1] if line else None)
    if separator is None and form.kind == "csv":
        is_cut = len(start) == _SAMPLE_BYTES
        separator = _find_separator(text, has_header=options.header, is_cut=is_cut)
    return TextFormat(
        encoding=encoding,
        separator="" if separator in (None, form.separator) else separator,
        header=options.header,
        has_separator_line=line is not None,
    )


def _find_encoding(start: bytes, given: str | None) -> str:
    """Return the codec by the byte order mark, else the given one; empty for UTF-8."""
    for mark, encoding in _MARKS.items():
        if start.startswith(mark):
            return encoding
    name = codecs.lookup(given).name if given else "utf-8"
    return _BYTE_ORDERS.get(name, name)


def decode_text(content: bytes, encoding: str | None) -> tuple[str, str]:
    """Return a whole file's text without its last line end, and why it is none; one is empty."""
    text = TextFormat(encoding=_find_encoding(content, encoding))
    try:
        decoded = content.decode(text.encoding or "utf-8")
    except UnicodeDecodeError:
        return "", text.not_decoded
    return decoded.removeprefix("\ufeff").rstrip("\r\n"), ""


def is_one_object(path: Path) -> bool:
    """Return whether a .json holds one object over several lines, as descriptions of data do.

    One that cannot be read is none: to read it is an error that says more.
    """
    form = format_of(path.name)
    if form is None or not path.name.lower().removesuffix(".gz").removesuffix(".zst").endswith(
        ".json"
    ):
        return False
    try:
        with open_compressed(path, form.compression) as stream:
            text = stream.read(_SAMPLE_BYTES).decode(errors="replace").lstrip("\ufeff \t\r\n")
    except (OSError, DataError):
        return False
    return text.startswith("{") and not _is_json(_LINE_END.split(text, maxsplit=1)[0])


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    except RecursionError:
        return True
    return True


def _is_array(text: str) -> bool:
    """Return whether JSON is one array of objects, and not rows of which the first is an array."""
    text = text.lstrip(" \t\r\n")
    if not re.match(r"\[\s*([{\]]|\Z)", text):
        return False
    first, *others = _LINE_END.split(text, maxsplit=1)
    # One that is not whole goes on in the next line.
    return not _is_json(first) or not "".join(others).strip()


def _find_separator(text: str, *, has_header: bool, is_cut: bool) -> str:
    """Return the separator of a CSV by its first rows; the comma unless another one fits better.

    A header line with a comma outside of quotes is one of commas. Of other separators, the header
    line must have it, and more than half of the rows as many cells as the first.
    """
    # Not `csv.Sniffer`, which takes letters that are frequent in prose for separators.
    lines = _LINE_END.split(_QUOTED.sub("x", text))
    first = next((line for line in lines if line), "")
    if has_header and "," in first:
        return ","
    likely = [separator for separator in _SEPARATORS if separator in first]
    shares = {separator: _share_of_width(text, separator, is_cut) for separator in likely}
    best = max(likely, key=lambda separator: shares[separator], default=",")
    return best if shares.get(best, 0) > 0.5 else ","


def _share_of_width(text: str, separator: str, is_cut: bool) -> float:
    """Return the share of the first rows that have as many cells as the first, two or more."""
    rows: list[Sequence[str]] = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
            rows += [row] if row else []
            if len(rows) > _SAMPLE_ROWS:
                break
    except csv.Error:
        return 0
    rows = rows[:-1] if is_cut and len(rows) > 1 else rows
    widths = [len(row) for row in rows]
    return widths.count(widths[0]) / len(widths) if widths and widths[0] > 1 else 0


@contextmanager
def open_text(path: Path, form: Format, text: TextFormat) -> Iterator[BinaryIO]:
    """Open a file as a buffered stream of its decompressed bytes, in UTF-8.

    Bytes that its encoding does not have become bytes that UTF-8 does not have; `original_bytes`
    returns them.

    Raises:
        OSError: If it cannot be opened or read.
        DataError: If the file is found truncated or damaged while the body reads it.
    """
    with open_compressed(path, form.compression) as stream:
        if not text.encoding:
            yield stream
            return
        codecs.register_error(_UNDECODABLE, _escape_bytes)
        transcoder = _Transcoder(stream, text.encoding)
        yield cast("BinaryIO", io.BufferedReader(transcoder, _BUFFER_BYTES))


class _Transcoder(io.RawIOBase):
    """A stream of text in UTF-8, from one in another encoding."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)(_UNDECODABLE)
        self._rest = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        """Return whether it can be read: always."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer as far as possible; return the number of bytes, 0 at the end."""
        while not self._rest and not self._ended:
            chunk = self._stream.read(_BUFFER_BYTES)
            self._ended = not chunk
            text = self._decoder.decode(chunk, final=self._ended)
            self._rest = memoryview(text.encode(errors="surrogatepass"))
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def _escape_bytes(error: UnicodeError) -> tuple[str, int]:
    """Return each byte that cannot be decoded as a surrogate, which UTF-8 does not have."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    found = error.object[error.start : error.end]
    return "".join(chr(_FIRST_LOW_SURROGATE + byte) for byte in found), error.end


def original_bytes(raw: bytes, encoding: str) -> bytes:
    """Return bytes of `open_text` as the file has them."""
    if not encoding:
        return raw
    parts = _ESCAPED.split(raw.decode(errors="surrogatepass"))
    return b"".join(
        bytes(ord(character) - _FIRST_LOW_SURROGATE for character in part)
        if place % 2
        else part.encode(encoding)
        for place, part in enumerate(parts)
    )
