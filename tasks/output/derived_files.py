"""Removal of what is made from a shard's tables: copies, and rows to review.

A file of rows to review that people changed holds their labels, and is never removed.
"""

import logging
from contextlib import suppress
from pathlib import Path

from tasks.common.files import sha256_of
from tasks.output.records import FOLDERS, SUFFIXES, read_record, table_path

logger = logging.getLogger(__name__)


def remove_derived(output_dir: Path, shard_id: str) -> None:
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
