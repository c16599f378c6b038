"""Row ranges: cut a file's stream of blocks into shards."""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import pyarrow as pa

from tasks.common.errors import DataError
from tasks.ingestion.table_reader import empty_block, read_blocks
from tasks.inputs.types import Surveyed
from tasks.output.records import Shard


def read_shards(
    surveyed: Surveyed, shards: Sequence[Shard], wanted: Collection[str] | None = None
) -> Iterator[tuple[Shard, Iterator[pa.Table]]]:
    """Read a file and yield its shards with their rows, as `table_reader.read_blocks` has them.

    The blocks of a shard are read while they are iterated, and only until the next shard is asked
    for; there is at least one, which may be empty.

    Args:
        surveyed: The file; one that could not be read has no shard.
        shards: All its ranges, in order.
        wanted: Ids of the shards to yield; None takes all.

    Raises:
        DataError: If the file changed since its survey, or is damaged; so does the iteration of
            blocks.
        OSError: If it cannot be read; so does the iteration of blocks.
    """
    if surveyed.survey is None:
        return
    blocks = chain([empty_block(surveyed.survey)], read_blocks(surveyed.file.path, surveyed.survey))
    wanted = {shard.id for shard in shards} if wanted is None else wanted
    with _one_file(surveyed.file.name):
        for shard, rows in cut_into_shards(blocks, shards, wanted):
            yield shard, _rows_of_one_file(rows, surveyed.file.name)


def _rows_of_one_file(blocks: Iterator[pa.Table], name: str) -> Iterator[pa.Table]:
    with _one_file(name):
        yield from blocks


@contextmanager
def _one_file(name: str) -> Iterator[None]:
    try:
        yield
    except (EOFError, pa.ArrowException) as error:
        raise DataError(f"{name}: expected the file that was surveyed") from error


def cut_into_shards(
    blocks: Iterable[pa.Table], shards: Sequence[Shard], wanted: Collection[str]
) -> Iterator[tuple[Shard, Iterator[pa.Table]]]:
    """Yield each wanted shard with its blocks; one block is in memory at a time.

    The blocks of a shard are there until the next shard is asked for.

    Args:
        blocks: The file's rows, in order; at least one block, which may be empty.
        shards: The file's ranges, in order and without gaps.
        wanted: Ids of the shards to yield.

    Raises:
        EOFError: If the blocks end before the ranges do.
    """
    stream = _RowStream(blocks)
    for shard in shards:
        rows = stream.take(shard)
        if shard.id in wanted:
            yield shard, rows
        deque(rows, maxlen=0)  # what was not asked for


class _RowStream:
    """The rows of a file, of which ranges are taken one after another."""

    def __init__(self, blocks: Iterable[pa.Table]) -> None:
        self._blocks = iter(blocks)
        self._rest = next(self._blocks)

    def take(self, shard: Shard) -> Iterator[pa.Table]:
        """Yield the next rows, as many as the shard has, in one block or more."""
        missing = shard.rows
        while True:
            part, self._rest = self._rest.slice(0, missing), self._rest.slice(missing)
            missing -= part.num_rows
            yield part
            if not missing:
                return
            block = next(self._blocks, None)
            if block is None:
                raise EOFError(f"{missing} rows of {shard.id} are missing")
            self._rest = block
