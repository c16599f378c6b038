"""Parquet reader: the schema, and the rows in batches of bounded size."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.common.errors import DataError
from tasks.ingestion.compression import open_seekable
from tasks.ingestion.formats import Compression

# Estimated from the average row of the file.
_BATCH_BYTES = 2**25


def read_schema(path: Path, compression: Compression) -> tuple[pa.Schema, int]:
    """Return the schema and the number of rows, from the file's metadata.

    Raises:
        OSError: If it cannot be opened.
        DataError: If it is no Parquet file.
    """
    with _open_parquet(path, compression) as file:
        return file.schema_arrow, file.metadata.num_rows


def read_parquet_batches(
    path: Path, compression: Compression, schema: pa.Schema, rows: int
) -> Iterator[pa.RecordBatch]:
    """Yield the rows in batches of at most `rows`, fewer where these are long; none is empty.

    Raises:
        OSError: If it cannot be opened.
        DataError: If it is no Parquet file, is damaged, or has another schema.
    """
    with _open_parquet(path, compression) as file:
        # Without metadata: a serialised schema loses the names inside maps.
        if not file.schema_arrow.equals(schema):
            raise DataError(f"{path}: its columns have changed; expected those surveyed")
        # Threads would keep more columns in memory at once.
        for batch in file.iter_batches(min(rows, _batch_rows(file)), use_threads=False):
            if batch.num_rows:
                yield batch


@contextmanager
def _open_parquet(path: Path, compression: Compression) -> Iterator[pq.ParquetFile]:
    with open_seekable(path, compression) as source:
        try:
            # With pre_buffer a whole row group would be in memory.
            yield pq.ParquetFile(
                source, buffer_size=2**20, pre_buffer=False, page_checksum_verification=True
            )
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            # Arrow raises OSError for damage too, but only the system's have an errno; a damaged
            # column name may not be UTF-8.
            if getattr(error, "errno", None):
                raise
            reason = re.sub(r"\s+", " ", str(error)).strip()
            raise DataError(f"{path}: expected a Parquet table ({reason})") from error


def _batch_rows(file: pq.ParquetFile) -> int:
    metadata = file.metadata
    groups = range(metadata.num_row_groups)
    size: int = sum(metadata.row_group(number).total_byte_size for number in groups)
    rows: int = metadata.num_rows
    return max(1, _BATCH_BYTES * rows // max(1, size))
