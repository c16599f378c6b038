"""Row ranges: cut a file's stream of blocks into shards, and stage them as Arrow files."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import pyarrow as pa

from tasks.common.errors import DataError
from tasks.ingestion.table_reader import empty_block, read_blocks
from tasks.output.records import Shard
from tasks.scoring.types import Surveyed


def read_shards(
    surveyed: Surveyed, shards: Sequence[Shard], wanted: Collection[str] | None = None
) -> Iterator[tuple[Shard, pa.Table]]:
    """Read a file and yield its shards with their rows, as `table_reader.read_blocks` has them.

    Args:
        surveyed: The file; one that could not be read has no shard.
        shards: All its ranges, in order.
        wanted: Ids of the shards to yield; None takes all.

    Raises:
        DataError: If the file changed since its survey, or is damaged.
        OSError: If it cannot be read.
    """
    if surveyed.survey is None:
        return
    blocks = chain([empty_block(surveyed.survey)], read_blocks(surveyed.file.path, surveyed.survey))
    wanted = {shard.id for shard in shards} if wanted is None else wanted
    try:
        yield from cut_into_shards(blocks, shards, wanted)
    except (EOFError, pa.ArrowException) as error:
        raise DataError(f"{surveyed.file.name}: expected the file that was surveyed") from error


def cut_into_shards(
    blocks: Iterable[pa.Table], shards: Sequence[Shard], wanted: Collection[str]
) -> Iterator[tuple[Shard, pa.Table]]:
    """Yield each wanted shard with its rows; one shard's rows are in memory at a time.

    Args:
        blocks: The file's rows, in order; at least one block, which may be empty.
        shards: The file's ranges, in order and without gaps.
        wanted: Ids of the shards to yield.

    Raises:
        EOFError: If the blocks end before the ranges do.
    """
    stream = iter(blocks)
    rest = next(stream)
    for shard in shards:
        part = [rest.slice(0, shard.rows)]
        rest = rest.slice(shard.rows)
        while missing := shard.rows - sum(block.num_rows for block in part):
            block = next(stream, None)
            if block is None:
                raise EOFError(f"{missing} rows of {shard.id} are missing")
            part.append(block.slice(0, missing))
            rest = block.slice(missing)
        if shard.id in wanted:
            yield shard, pa.concat_tables(part)


def write_staged(table: pa.Table, path: Path) -> Path:
    """Write rows for `read_staged`; they need not survive the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    # Created, not opened: others may have put a link there. And as a stream, since the file format
    # would refuse a dictionary that changes from block to block.
    with path.open("xb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    return path


def read_staged(path: Path) -> pa.Table:
    """Return rows that `write_staged` wrote."""
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_stream(file).read_all()
