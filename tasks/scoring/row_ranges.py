"""Row ranges: cut a file's stream of blocks into shards, and stage them as Arrow files."""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

import pyarrow as pa

from tasks.common.arrow import decoded_bytes
from tasks.common.errors import DataError
from tasks.ingestion.table_reader import empty_block, read_blocks
from tasks.output.folder import output_errors
from tasks.output.records import Shard
from tasks.scoring.types import Surveyed

# Of the values, decoded. A usual shard is one part; one of long texts is scored in several, so that
# memory does not grow with their length.
_PART_BYTES = 2**26

# Equal long texts, which a Parquet file stores once, take little of the disk.
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="zstd")


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


def write_staged(blocks: Iterable[pa.Table], path: Path, output_dir: Path) -> None:
    """Write the blocks of a shard for `read_staged`; they need not survive the process.

    Args:
        blocks: The rows; at least one block. What their iteration raises passes through.
        path: The file; on an error it is removed.
        output_dir: Folder of the output, which the file is in.

    Raises:
        OutputError: If it cannot be written.
    """
    stream = iter(blocks)
    first = next(stream)
    with output_errors(output_dir):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        # Created, not opened: others may have put a link there.
        file = path.open("xb")
    try:
        with output_errors(output_dir):
            # A stream, since the file format would refuse a dictionary that changes from block to
            # block.
            writer = pa.ipc.new_stream(file, first.schema, options=_COMPRESSED)
        for block in chain([first], stream):
            with output_errors(output_dir):
                writer.write_table(block)
        with output_errors(output_dir):
            writer.close()
            file.close()
    except BaseException:
        with suppress(OSError):  # what it still had to write
            file.close()
        path.unlink(missing_ok=True)
        raise


def read_staged(path: Path) -> Iterator[pa.Table]:
    """Yield the rows that `write_staged` wrote, in parts of bounded size; there is at least one."""
    with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as stream:
        part: list[pa.RecordBatch] = []
        size = parts = 0
        for batch in stream:
            length = decoded_bytes(batch)
            if part and size + length > _PART_BYTES:
                yield pa.Table.from_batches(part)
                part, size, parts = [], 0, parts + 1
            part.append(batch)
            size += length
        if part or not parts:
            yield pa.Table.from_batches(part, stream.schema)
