"""The predictions of an input file as one file, for people who download it in a browser."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from tasks.output.copies import read_in_parts
from tasks.output.records import OutputFormat, ShardRecord, table_path
from tasks.output.text_files import write_text


class _TooLargeError(Exception):
    """The file has more bytes than it may."""


def write_download(
    output_dir: Path,
    records: Sequence[ShardRecord],
    output_format: OutputFormat,
    path: Path,
    most_bytes: int,
) -> bool:
    """Write the predictions of the shards of an input file to one file, in order.

    Args:
        output_dir: The output folder.
        records: Those of the shards; all have the same columns.
        output_format: What the file is written as.
        path: The file; it is missing if it would be too large.
        most_bytes: Bytes that it may have.

    Returns:
        Whether it is there.

    Raises:
        OSError: If a file cannot be read or written.
        pyarrow.ArrowException: If a table is damaged.
    """
    paths = [table_path(output_dir, "predictions", record.shard.id) for record in records]
    schema = pyarrow.parquet.read_schema(paths[0])
    tables = _bounded(paths, path, most_bytes)
    try:
        if output_format == "parquet":
            with pyarrow.parquet.ParquetWriter(path, schema) as writer:
                for table in tables:
                    writer.write_table(table)
        else:
            write_text(tables, schema, path, output_format)
    except _TooLargeError:
        path.unlink()
        return False
    # The end of a Parquet file is written last.
    if path.stat().st_size > most_bytes:
        path.unlink()
        return False
    return True


def _bounded(paths: Sequence[Path], written: Path, most_bytes: int) -> Iterator[pa.Table]:
    for path in paths:
        with pyarrow.parquet.ParquetFile(path) as file:
            for table in read_in_parts(file):
                yield table
                if written.stat().st_size > most_bytes:
                    raise _TooLargeError
