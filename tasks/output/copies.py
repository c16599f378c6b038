"""Copies of a shard's tables as CSV or JSONL, with their digests in its record.

The Parquet files stay what a shard is: a copy is made from them, for nothing but their reading, so
that another format costs no scoring. The record that names a copy follows it.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from tasks.common.files import published_file, sha256_of
from tasks.output.records import FOLDERS, ShardRecord, table_path, write_record
from tasks.output.text_files import CopyFormat, write_text

_BATCH_ROWS = 2_000


def write_copies(output_dir: Path, record: ShardRecord, text_format: CopyFormat) -> ShardRecord:
    """Make the copies of a shard that are missing or altered; return its record, with digests.

    Args:
        output_dir: The output folder.
        record: The record of a shard that is done; written again if a copy is made.
        text_format: `csv`, `csv-semicolon` or `jsonl`.

    Raises:
        OSError: If a file cannot be read or written.
    """
    made = {}
    for folder in FOLDERS:
        target = table_path(output_dir, copy := f"{folder}_{text_format}", record.shard.id)
        if target.is_file() and sha256_of(target) == record.files.get(copy):
            continue
        with published_file(target) as draft:
            with pyarrow.parquet.ParquetFile(
                table_path(output_dir, folder, record.shard.id)
            ) as file:
                write_text(read_in_parts(file), file.schema_arrow, draft, text_format)
            made[copy] = sha256_of(draft)
    if not made:
        return record
    record = record.model_copy(update={"files": record.files | made})
    write_record(output_dir, record)
    return record


def read_in_parts(file: pyarrow.parquet.ParquetFile) -> Iterator[pa.Table]:
    """Yield the rows of a table, a bounded number at a time."""
    for batch in file.iter_batches(_BATCH_ROWS):
        yield pa.Table.from_batches([batch])
