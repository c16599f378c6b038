"""Draw a sample of the rows of a published shard, as they were read from its input."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.arms.assignment import is_sampled
from tasks.common.errors import DataError
from tasks.ingestion.table_reader import PLACE, READ_STEP
from tasks.output.records import FOLDERS, RESERVED_COLUMNS, ShardRecord, table_path
from tasks.output.tables import extract_texts, take_rows
from tasks.staging.arrow_files import write_staged

_ROWS_AT_ONCE = 2_000


def write_sample(
    source: Path, record: ShardRecord, share: float, target: Path, output_dir: Path
) -> None:
    """Write the rows of a share of the texts, as staging has them; rows that no one could read not.

    Args:
        source: The output folder of the shard.
        record: Its record.
        share: The share of the texts, above 0 and at most 1.
        target: The file that gets the rows.
        output_dir: Folder of the output that the file is in.

    Raises:
        DataError: If a table of the shard cannot be read.
        OutputError: If the file cannot be written.
    """
    write_staged(_sampled_rows(source, record, share), target, output_dir)


def _sampled_rows(source: Path, record: ShardRecord, share: float) -> Iterator[pa.Table]:
    added = RESERVED_COLUMNS.union(record.parameters.added_columns)
    schema: pa.Schema | None = None
    for folder in FOLDERS:
        path = table_path(source, folder, record.shard.id)
        try:
            with pq.ParquetFile(path) as file:
                empty = file.schema_arrow.empty_table()
                for rows in [empty, *map(_to_table, file.iter_batches(_ROWS_AT_ONCE))]:
                    own = [name for name in rows.column_names if name not in added]
                    sample = _as_staged(_sample(rows, record.parameters.text_column, share), own)
                    # Parquet numbers the fields of each table in its own way.
                    schema = schema or sample.schema
                    yield pa.Table.from_arrays(sample.columns, schema=schema)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path}: cannot be read ({error}); score its shard again") from error


def _to_table(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch])


def _sample(rows: pa.Table, text_column: str, share: float) -> pa.Table:
    steps = rows["step"].to_pylist() if "step" in rows.column_names else [None] * rows.num_rows
    texts = extract_texts(rows, text_column)
    chosen = [
        place
        for place, (step, text) in enumerate(zip(steps, texts, strict=True))
        if step != READ_STEP and is_sampled(text, share)
    ]
    return take_rows(rows, chosen)


def _as_staged(rows: pa.Table, own: list[str]) -> pa.Table:
    columns = [*rows.select([*own, "row"]).columns]
    columns += [pa.nulls(rows.num_rows, PLACE.field(name).type) for name in PLACE.names[1:]]
    fields = [rows.schema.field(name).remove_metadata() for name in own]
    return pa.Table.from_arrays(columns, schema=pa.schema([*fields, *PLACE]))
