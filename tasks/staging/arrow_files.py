"""Arrow files that pass rows from one task to another; they need not survive the process."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

import pyarrow as pa

from tasks.common.arrow import decoded_bytes
from tasks.output.folder import output_errors

# Of the values, decoded. A usual shard is one part; one of long texts is scored in several, so that
# memory does not grow with their length.
_PART_BYTES = 2**26

# Equal long texts, which a Parquet file stores once, take little of the disk.
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="zstd")


def write_staged(blocks: Iterable[pa.Table], path: Path, output_dir: Path) -> None:
    """Write blocks of rows for `read_staged`.

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
