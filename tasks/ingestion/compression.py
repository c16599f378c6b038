"""Files opened to be read, plain or compressed: as a stream, by lines, or at any place."""

import codecs
import gzip
import io
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, cast

import pyarrow as pa

from tasks.common.cancellation import raise_if_stopped
from tasks.common.errors import DataError
from tasks.common.settings import get_settings
from tasks.ingestion.formats import Compression

LONGEST_LINE = 2**26  # bytes

_BUFFER = 2**20  # bytes


@contextmanager
def opened(path: Path, compression: Compression) -> Iterator[BinaryIO]:
    """Open a file as a buffered stream of its decompressed bytes.

    What is cut off between two members of a gzip file or two frames of a zstd file cannot be told
    from a whole one, and damage in a zstd file written without checksums may go unnoticed.

    Raises:
        OSError: If it cannot be opened or read.
        DataError: If it is read in the body and found truncated or damaged.
    """
    with path.open("rb") as file:
        if compression and not file.peek(1):
            raise DataError(f"{path}: no bytes; expected a {compression} file")
        try:
            with _decompressed(file, compression) as stream:
                yield stream
        except (OSError, EOFError, zlib.error) as error:
            # Both libraries raise OSError for damage too, but only the system's have a number.
            if getattr(error, "errno", None):
                raise
            raise DataError(
                f"{path}: truncated or damaged; expected a {compression} file"
            ) from error


@contextmanager
def opened_for_seeking(path: Path, compression: Compression) -> Iterator[BinaryIO]:
    """Open a file's decompressed bytes to be read at any place.

    Those of a compressed file lie in an unnamed file under `MILLSTREAM_HOME` meanwhile, since
    /tmp may be memory.

    Raises:
        OSError: If it cannot be opened or read, or the disk is full.
        DataError: If it is truncated or damaged.
    """
    if not compression:
        with path.open("rb") as file:
            yield file
        return
    root = get_settings().root
    root.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=root) as whole:
        with opened(path, compression) as stream:
            shutil.copyfileobj(stream, whole, _BUFFER)
        whole.seek(0)
        yield cast("BinaryIO", whole)


def lines_of(stream: BinaryIO, path: Path) -> Iterator[bytes]:
    """Yield the lines with their line breaks, the first without a byte order mark.

    Raises:
        DataError: If a line is longer than `LONGEST_LINE`; it would have to fit into memory.
        StoppedError: If the run is told to end.
    """
    number = 0
    while line := stream.readline(LONGEST_LINE + 1):
        raise_if_stopped()
        number += 1
        if len(line) > LONGEST_LINE:
            raise DataError(
                f"{path}: line {number} is longer than {LONGEST_LINE} bytes; expected shorter"
            )
        yield line.removeprefix(codecs.BOM_UTF8) if number == 1 else line


def _decompressed(file: io.BufferedReader, compression: Compression) -> BinaryIO:
    # Arrow's streams have no readline of their own, and that of gzip is slow.
    if compression == "gzip":
        return io.BufferedReader(gzip.GzipFile(fileobj=file), _BUFFER)
    if compression == "zstd":
        return io.BufferedReader(pa.CompressedInputStream(file, "zstd"), _BUFFER)
    return file
