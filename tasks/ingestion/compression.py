"""Open plain, gzip and zstd files for reading: as a stream, by lines, or seekable."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, cast

from tasks.common.cancellation import raise_if_stopped
from tasks.common.errors import DataError
from tasks.common.settings import get_settings
from tasks.ingestion.disk_budget import DiskBudget
from tasks.ingestion.formats import Compression

MAX_LINE_BYTES = 2**26

_BUFFER_BYTES = 2**20


@contextmanager
def open_compressed(path: Path, compression: Compression) -> Iterator[BinaryIO]:
    """Open a file as a buffered stream of its decompressed bytes.

    Not detected: truncation between two members of a gzip file or two frames of a zstd file, and
    some damage in a zstd file without checksums.

    Raises:
        OSError: If it cannot be opened or read.
        DataError: If the file is found truncated or damaged while the body reads it.
    """
    with path.open("rb") as file:
        if compression and not file.peek(1):
            raise DataError(f"{path}: no bytes; expected a {compression} file")
        try:
            with _decompressed_stream(file, compression) as stream:
                yield stream
        except (OSError, EOFError, zlib.error) as error:
            # Both libraries raise OSError for damage too, but only the system's have an errno.
            if getattr(error, "errno", None):
                raise
            raise DataError(
                f"{path}: truncated or damaged; expected a {compression} file"
            ) from error


@contextmanager
def open_seekable(
    path: Path, compression: Compression, *, starts_with: bytes = b""
) -> Iterator[BinaryIO]:
    """Open a file's decompressed bytes as a seekable stream.

    A compressed file is first decompressed to an unnamed file under `MILLSTREAM_HOME`, since /tmp
    may be memory.

    Args:
        path: The file.
        compression: Of the file.
        starts_with: The first bytes of a compressed file's content; they are checked before the
            rest is decompressed.

    Raises:
        OSError: If it cannot be opened or read, or the disk is full.
        DataError: If it is truncated or damaged, starts otherwise, or would take more of the disk
            than `MILLSTREAM_UNPACK_LIMIT` or what is free.
    """
    if not compression:
        with path.open("rb") as file:
            yield file
        return
    _check_start(path, compression, starts_with)
    root = get_settings().root
    root.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=root) as whole:
        with open_compressed(path, compression) as stream:
            _unpack(path, stream, cast("BinaryIO", whole), root)
        whole.seek(0)
        yield cast("BinaryIO", whole)


def _check_start(path: Path, compression: Compression, starts_with: bytes) -> None:
    with open_compressed(path, compression) as stream:
        if stream.read(len(starts_with)) != starts_with:  # what it read may be a user's text
            raise DataError(
                f"{path}: its content does not start with {starts_with.decode()}; "
                "expected the kind of file that its name says"
            )


def _unpack(path: Path, stream: BinaryIO, target: BinaryIO, root: Path) -> None:
    budget = DiskBudget(root, get_settings().unpack_limit, "MILLSTREAM_UNPACK_LIMIT")
    for chunk in iter(lambda: stream.read(_BUFFER_BYTES), b""):
        raise_if_stopped()
        if fault := budget.fault(len(chunk)):
            raise DataError(f"{path}: unpacks to {fault}")
        budget.count(target.write(chunk))


def line_end(stream: BinaryIO) -> bytes:
    """Return what ends the lines of a stream of `open_compressed`, which is at its start.

    It is a carriage return if its first thousands of bytes have some and no line feed.
    """
    head = cast("io.BufferedReader", stream).peek(_BUFFER_BYTES)
    return b"\n" if b"\n" in head or b"\r" not in head[:-1] else b"\r"


def read_lines(stream: BinaryIO, path: Path, end: bytes = b"\n") -> Iterator[bytes]:
    """Yield the lines with their line breaks, the first without a byte order mark.

    Args:
        stream: At its start.
        path: Named in errors.
        end: What ends a line: a line feed or a carriage return.

    Raises:
        DataError: If a line is longer than `MAX_LINE_BYTES`; it would have to fit into memory.
        StoppedError: If the run is to stop.
    """
    for number, line in enumerate(_split_lines(stream, end), start=1):
        raise_if_stopped()
        if len(line) > MAX_LINE_BYTES:
            raise DataError(
                f"{path}: line {number} is longer than {MAX_LINE_BYTES} bytes; expected shorter"
            )
        yield line.removeprefix(codecs.BOM_UTF8) if number == 1 else line


def _split_lines(stream: BinaryIO, end: bytes) -> Iterator[bytes]:
    """Yield the lines; what is longer than `MAX_LINE_BYTES` may be cut."""
    if end == b"\n":
        yield from iter(lambda: stream.readline(MAX_LINE_BYTES + 1), b"")
        return
    rest = b""
    while len(rest) <= MAX_LINE_BYTES and (chunk := stream.read(_BUFFER_BYTES)):
        *lines, rest = (rest + chunk).split(end)
        yield from (line + end for line in lines)
    if rest:
        yield rest


def _decompressed_stream(file: io.BufferedReader, compression: Compression) -> BinaryIO:
    # Arrow's streams have no readline, and gzip's is slow.
    if compression == "gzip":
        return io.BufferedReader(gzip.GzipFile(fileobj=file), _BUFFER_BYTES)
    if compression == "zstd":
        import pyarrow as pa  # which takes a moment, and a command's help loads this module

        return io.BufferedReader(pa.CompressedInputStream(file, "zstd"), _BUFFER_BYTES)
    return file
