"""Scoring one shard, and reading what it published."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.inputs.input_files import list_input_files
from tasks.inputs.row_ranges import read_shards
from tasks.inputs.types import Surveyed
from tasks.output.records import Shard, ShardRecord
from tasks.output.row_parameters import RowParameters
from tasks.scoring.planning import plan_files
from tasks.scoring.prefect_tasks import survey_input
from tasks.scoring.shard_scorer import score_rows
from tasks.scoring.types import ScoringParameters
from tasks.staging.arrow_files import write_staged
from tasks.staging.types import StagedShard


def stage(path: Path, parameters: ScoringParameters) -> tuple[Shard, StagedShard]:
    """Put the rows of a file that fits into one shard where `score` reads them."""
    (file,) = list_input_files([str(path)], parameters.output_dir)
    surveyed = Surveyed(file=file, survey=survey_input.fn(file, parameters))
    planned = [p.shard for p in plan_files([surveyed], parameters)]
    staged = path.with_suffix(".arrow")
    shard, rows = next(read_shards(surveyed, planned))
    write_staged(rows, staged, parameters.output_dir)
    return shard, StagedShard(rows=staged)


def score_file(path: Path, parameters: ScoringParameters) -> ShardRecord:
    return score_rows(*stage(path, parameters), parameters)


def score_table(table: pa.Table, parameters: ScoringParameters) -> ShardRecord:
    path = parameters.output_dir.parent / "rows.parquet"
    pq.write_table(table, path)
    return score_file(path, parameters)


def with_rows(parameters: ScoringParameters, **fields: Any) -> ScoringParameters:
    return parameters.model_copy(update={"rows": RowParameters(**fields)})


def output(folder: str, parameters: ScoringParameters) -> pa.Table:
    (file,) = (parameters.output_dir / folder).glob("*.parquet")
    return pq.read_table(file)


def in_out(record: ShardRecord) -> tuple[int, int, int]:
    return record.counts.rows_in, record.counts.scored, record.counts.rejected
