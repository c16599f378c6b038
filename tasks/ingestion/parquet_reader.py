"""The rows of Parquet files, in the types that they have, a few at a time."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.common.errors import DataError
from tasks.ingestion.compression import opened_for_seeking
from tasks.ingestion.formats import Compression

# Bytes of a batch, estimated from the averages of the file.
_BATCH_BYTES = 2**25


def schema_of(path: Path, compression: Compression) -> tuple[pa.Schema, int]:
    """Return the schema and the number of rows, as the file's metadata has them.

    Raises:
        OSError: If it cannot be opened.
        DataError: If it is no Parquet file.
    """
    with _opened(path, compression) as file:
        return file.schema_arrow, file.metadata.num_rows


def read(
    path: Path, compression: Compression, schema: pa.Schema, rows: int
) -> Iterator[pa.RecordBatch]:
    """Yield the rows in batches of at most `rows`, fewer where these are long; none is empty.

    Raises:
        OSError: If it cannot be opened.
        DataError: If it is no Parquet file, is damaged, or has another schema.
    """
    with _opened(path, compression) as file:
        # Metadata cannot be compared: a serialised schema has lost the names inside of maps.
        if not file.schema_arrow.equals(schema):
            raise DataError(f"{path}: its columns have changed; expected those surveyed")
        # Threads would hold more columns in memory at once.
        for batch in file.iter_batches(min(rows, _rows_of_a_batch(file)), use_threads=False):
            if batch.num_rows:
                yield batch


@contextmanager
def _opened(path: Path, compression: Compression) -> Iterator[pq.ParquetFile]:
    with opened_for_seeking(path, compression) as source:
        try:
            # With pre_buffer the whole of a row group would lie in memory.
            yield pq.ParquetFile(
                source, buffer_size=2**20, pre_buffer=False, page_checksum_verification=True
            )
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            # Arrow raises OSError for damage too, but only the system's have a number; where a
            # column's name is damaged, its schema is no text.
            if getattr(error, "errno", None):
                raise
            reason = re.sub(r"\s+", " ", str(error)).strip()
            raise DataError(f"{path}: expected a Parquet table ({reason})") from error


def _rows_of_a_batch(file: pq.ParquetFile) -> int:
    metadata = file.metadata
    groups = range(metadata.num_row_groups)
    size: int = sum(metadata.row_group(number).total_byte_size for number in groups)
    rows: int = metadata.num_rows
    return max(1, _BATCH_BYTES * rows // max(1, size))
