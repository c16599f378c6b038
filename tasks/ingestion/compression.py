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


def read_lines(stream: BinaryIO, path: Path) -> Iterator[bytes]:
    """Yield the lines with their line ends, the first without a byte order mark.

    A line ends with a line feed, the carriage returns before it included, or with a carriage return
    alone. One file may have several of these.

    Args:
        stream: At its start.
        path: Named in errors.

    Raises:
        DataError: If a line is longer than `MAX_LINE_BYTES`; it would have to fit into memory.
        StoppedError: If the run is to stop.
    """
    number = 0
    for lines in _split_lines(stream):
        raise_if_stopped()
        if not number and lines:
            lines[0] = lines[0].removeprefix(codecs.BOM_UTF8)
        for line in lines:
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise DataError(
                    f"{path}: line {number} is longer than {MAX_LINE_BYTES} bytes; expected shorter"
                )
            yield line


def _split_lines(stream: BinaryIO) -> Iterator[list[bytes]]:
    """Yield the lines, many at a time; what is longer than `MAX_LINE_BYTES` may be cut."""
    rest = b""
    # As much again as there is of a long line, or its bytes would be copied for each block.
    while len(rest) <= MAX_LINE_BYTES and (chunk := stream.read(max(_BUFFER_BYTES, len(rest)))):
        block = rest + chunk
        known = block.rstrip(b"\r")  # a line feed may follow these
        lines, rest = _split_block(known), block[len(known) :]
        if lines and not lines[-1].endswith(b"\n"):
            rest = lines.pop() + rest
        yield lines
    yield _split_block(rest) if len(rest) <= MAX_LINE_BYTES else [rest]


def _split_block(block: bytes) -> list[bytes]:
    if b"\r\r\n" not in block:
        return block.splitlines(keepends=True)
    # As programs write that replace the line feed of "\r\n" once more: one end, not two.
    lines: list[bytes] = []
    for part in io.BytesIO(block):
        content = part.rstrip(b"\r\n")
        *others, last = content.splitlines(keepends=True) or [b""]
        lines += [*others, last + part[len(content) :]]
    return lines


def _decompressed_stream(file: io.BufferedReader, compression: Compression) -> BinaryIO:
    # Arrow's streams have no readline, and gzip's is slow.
    if compression == "gzip":
        return io.BufferedReader(gzip.GzipFile(fileobj=file), _BUFFER_BYTES)
    if compression == "zstd":
        import pyarrow as pa  # which takes a moment, and a command's help loads this module

        return io.BufferedReader(pa.CompressedInputStream(file, "zstd"), _BUFFER_BYTES)
    return file
