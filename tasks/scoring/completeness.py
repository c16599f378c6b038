"""Check completeness: each input row is published once, read from the files, not counters."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from tasks.common.errors import ProofError
from tasks.inputs.types import Surveyed
from tasks.output.records import FOLDERS, ShardRecord, table_path
from tasks.scoring.types import ScoringParameters, ShardOutcome


def check_completeness(
    surveys: Sequence[Surveyed], outcomes: Sequence[ShardOutcome], parameters: ScoringParameters
) -> None:
    """Check that every row of each file is published once.

    Shards that failed or were left out have none.

    Args:
        surveys: The files; the rows that they have were counted before any was scored.
        outcomes: What became of their shards.
        parameters: With the output folder.

    Raises:
        ProofError: If a row is missing, doubled or out of order, naming the first such shard.
    """
    # By id: URLs that differ in their queries alone have one name.
    missing = {survey.file.id: survey.survey.rows for survey in surveys if survey.survey}
    for outcome in outcomes:
        if outcome.record is not None:
            _check_shard(outcome.record, parameters.output_dir)
            missing[outcome.file_id] -= outcome.record.shard.rows
    unfinished = {outcome.file_id for outcome in outcomes if outcome.error or outcome.left}
    for file in (survey.file for survey in surveys):
        if missing.get(file.id) and file.id not in unfinished:
            raise ProofError(
                f"{file.name}: {missing[file.id]} of its rows are in no shard; expected 0"
            )


def _check_shard(record: ShardRecord, output_dir: Path) -> None:
    shard, numbers = record.shard, []
    counted = {"rejected": record.counts.rejected, "predictions": record.counts.scored}
    for folder in FOLDERS:
        path = table_path(output_dir, folder, shard.id)
        try:
            # Not read_table, whose data sets have columns of their own.
            table = pyarrow.parquet.ParquetFile(path).read(columns=["shard", "row"])
        except (OSError, pa.ArrowException) as error:
            raise ProofError(f"{path}: expected the {folder} of a shard ({error})") from error
        if table.num_rows != counted[folder]:
            raise ProofError(
                f"{path}: has {table.num_rows} rows; expected {counted[folder]}, as in its record"
            )
        if not pc.all(pc.equal(table["shard"], shard.id), min_count=0).as_py():
            raise ProofError(f"{path}: has rows of another shard; expected {shard.id} alone")
        numbers.append(table["row"].to_numpy())
        if (np.diff(numbers[-1]) <= 0).any():
            raise ProofError(f"{path}: its rows are out of order; expected that of the input")
    found = np.sort(np.concatenate(numbers))
    expected = np.arange(shard.first_row, shard.first_row + shard.rows)
    if not np.array_equal(found, expected):
        raise ProofError(
            f"{shard.id}: {len(found)} published rows, {len(np.setdiff1d(expected, found))} "
            f"missing; expected the rows {shard.first_row} to "
            f"{shard.first_row + shard.rows - 1} once each"
        )
