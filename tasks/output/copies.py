"""What is made from a shard's tables: copies as CSV or JSONL, and the rows to review.

The Parquet files stay what a shard is: a copy is made from them, for nothing but their reading, so
that another format costs no scoring. The record that names a copy follows it.
"""

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from tasks.common.files import published_file, sha256_of
from tasks.output.records import (
    FOLDERS,
    SUFFIXES,
    ShardRecord,
    read_record,
    table_path,
    write_record,
)
from tasks.output.text_files import TextFormat, write_text

logger = logging.getLogger(__name__)

_BATCH_ROWS = 2_000


def write_copies(output_dir: Path, record: ShardRecord, text_format: TextFormat) -> ShardRecord:
    """Make the copies of a shard that are missing or altered; return its record, with digests.

    Args:
        output_dir: The output folder.
        record: The record of a shard that is done; written again if a copy is made.
        text_format: `csv` or `jsonl`.

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


def remove_copies(output_dir: Path, shard_id: str) -> None:
    """Remove what was made from the tables of a shard that are replaced or removed.

    A file of rows to review that people changed holds their labels: it gets another name.

    Args:
        output_dir: The output folder.
        shard_id: The shard; its record is still there, if it had one.

    Raises:
        OSError: If a file cannot be removed.
    """
    if is_review_changed(output_dir, shard_id):
        review = table_path(output_dir, "review", shard_id)
        name = f"{shard_id}.changed-{sha256_of(review)[:8]}.csv"
        review.rename(review.with_name(name))
        logger.warning("%s: was changed, and is kept as %s", review, name)
    for folder in SUFFIXES.keys() - set(FOLDERS):
        table_path(output_dir, folder, shard_id).unlink(missing_ok=True)


def is_review_changed(output_dir: Path, shard_id: str) -> bool:
    """Return whether a shard has a file of rows to review that is not as its record says."""
    review = table_path(output_dir, "review", shard_id)
    if not review.is_file():
        return False
    with suppress(ValueError):  # a damaged record does not say
        if record := read_record(output_dir, shard_id):
            return sha256_of(review) != record.files.get("review")
    return True


def read_in_parts(file: pyarrow.parquet.ParquetFile) -> Iterator[pa.Table]:
    """Yield the rows of a table, a bounded number at a time."""
    for batch in file.iter_batches(_BATCH_ROWS):
        yield pa.Table.from_batches([batch])
