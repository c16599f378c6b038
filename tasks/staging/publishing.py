"""Publish the drafts of a shard: its tables, what is made from them, and its record.

The process that holds the output folder does this alone; drafts may come from other machines.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.common.files import flushed_file, move_file, sha256_of, unique_name
from tasks.common.parameter_types import FrozenModel
from tasks.output.derived_files import remove_derived
from tasks.output.folder import output_errors
from tasks.output.records import FOLDERS, SUFFIXES, ShardRecord, table_path, write_record

logger = logging.getLogger(__name__)


class DraftedShard(FrozenModel):
    """A shard that is scored and not published.

    Attributes:
        record: Its record, with the digests of the drafts.
        drafts: Files that are flushed to disk, by the folder of the output that each is for.
    """

    record: ShardRecord
    drafts: dict[str, Path]


class Drafts:
    """Writes the drafts of one shard to a folder, which is there.

    Attributes:
        paths: The drafts that are written, by the folder of the output that each is for.
        digests: Their SHA-256, likewise.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.paths: dict[str, Path] = {}
        self.digests: dict[str, str] = {}

    @contextmanager
    def file(self, folder: str) -> Iterator[Path]:
        """Yield a path that no other process uses, for the draft of a folder of the output."""
        name = f"{unique_name()}.{folder}{SUFFIXES[folder]}"
        with flushed_file(self._folder / name) as path:
            yield path
            self.digests[folder] = sha256_of(path)
        self.paths[folder] = path

    def remove(self) -> None:
        """Remove the drafts that are still there."""
        for path in self.paths.values():
            path.unlink(missing_ok=True)


def publish_shard(drafted: DraftedShard, output_dir: Path) -> ShardRecord:
    """Move the drafts of a shard to their places, and write its record last.

    Args:
        drafted: The shard; its drafts are on the file system of the output.
        output_dir: The output folder, which this process holds.

    Returns:
        The record.

    Raises:
        OutputError: If the folder is full or may not be written.
        OSError: If a file fails in another way, as a draft that is gone.
    """
    record, shard_id = drafted.record, drafted.record.shard.id
    with output_errors(output_dir):
        for folder in FOLDERS:
            move_file(drafted.drafts[folder], table_path(output_dir, folder, shard_id))
        remove_derived(output_dir, shard_id)
        for folder in drafted.drafts.keys() - set(FOLDERS):
            move_file(drafted.drafts[folder], table_path(output_dir, folder, shard_id))
        write_record(output_dir, record)
    logger.info(
        "%s: %d rows scored (%d through the model), %d rejected, in %.1f s",
        shard_id,
        record.counts.scored,
        record.counts.model_calls,
        record.counts.rejected,
        record.seconds,
    )
    return record
