"""One shard: read, answered, and published as Parquet, whole or not at all."""

import logging
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from tasks.answers import ask, load_pipeline
from tasks.errors import DataError
from tasks.files import published_file
from tasks.scoring import (
    PREDICTION_COLUMNS,
    REJECTED_COLUMNS,
    ScoringParameters,
    Shard,
    ShardResult,
)
from tasks.tables import read_table

logger = logging.getLogger(__name__)

_TYPES = {
    "shard": pa.string(),
    "row": pa.int64(),
    "prediction_label": pa.string(),
    "prediction_score": pa.float64(),
    "language_detected": pa.string(),
    "language_reliable": pa.bool_(),
    "truncated": pa.bool_(),
    "cached": pa.bool_(),
    "finetuned_model_uri": pa.string(),
    "inference_pipeline_model_uri": pa.string(),
    "line": pa.int64(),
    "raw": pa.binary(),
    "step": pa.string(),
    "reason": pa.string(),
}


def score(shard: Shard, parameters: ScoringParameters) -> ShardResult:
    """Answer every row of a file and publish `predictions/` and `rejected/<shard>.parquet`.

    Rows keep their order and their number, counted from 1.

    Raises:
        OSError: If the file cannot be opened, or a result cannot be written.
        DataError: If the file is no table, or has no text column or a reserved one.
        ModelError: If the model cannot be loaded.
    """
    started = time.monotonic()
    table = read_shard(shard.path, parameters.text_column)
    answers = ask(
        load_pipeline(parameters.model_uri),
        table[parameters.text_column].to_pylist(),
        use_cache=parameters.use_cache,
        batch_tokens=parameters.batch_tokens,
    )
    scored = [_scored_row(shard, row, a) for row, a in enumerate(answers, start=1) if a["response"]]
    rejected = [
        _rejected_row(shard, row, a) for row, a in enumerate(answers, start=1) if not a["response"]
    ]
    for folder, columns, rows in (
        ("rejected", REJECTED_COLUMNS, rejected),
        ("predictions", PREDICTION_COLUMNS, scored),
    ):
        target = parameters.output_dir / folder / f"{shard.id}.parquet"
        with published_file(target) as draft:
            pyarrow.parquet.write_table(_joined(table, columns, rows), draft)
    result = ShardResult(
        id=shard.id,
        path=shard.path,
        rows_in=table.num_rows,
        scored=len(scored),
        rejected=len(rejected),
        cache_hits=sum(row["cached"] for row in scored),
        labels=dict(Counter(row["prediction_label"] for row in scored)),
        languages=dict(Counter(row["language_detected"] for row in scored)),
        seconds=time.monotonic() - started,
    )
    logger.info(
        "%s: %d rows scored (%d from the cache), %d rejected, in %.1f s",
        shard.id,
        result.scored,
        result.cache_hits,
        result.rejected,
        result.seconds,
    )
    return result


def read_shard(path: Path, text_column: str) -> pa.Table:
    """Read a file to score, with the types that it has.

    Raises:
        OSError: If it cannot be opened, which another attempt may mend.
        DataError: If it is no table, lacks `text_column`, or has a reserved column.
    """
    table = read_table(path, texts=(text_column,))
    if text_column not in table.column_names:
        # The names stay unsaid: without a header line they are the first row's text.
        raise DataError(
            f"{path}: no column {text_column!r} among its {table.num_columns}; "
            "name one with text_column"
        )
    reserved = set(table.column_names) & (set(PREDICTION_COLUMNS) | set(REJECTED_COLUMNS))
    if reserved:
        raise DataError(
            f"{path}: the columns {sorted(reserved)} are reserved; expected other names"
        )
    return table


def _scored_row(shard: Shard, row: int, answer: dict[str, Any]) -> dict[str, Any]:
    return {
        "shard": shard.id,
        "row": row,
        **answer["response"],
        **answer["metadata"],
        **answer["model_metadata"],
    }


def _rejected_row(shard: Shard, row: int, answer: dict[str, Any]) -> dict[str, Any]:
    return {"shard": shard.id, "row": row, "line": None, "raw": None, **answer["error"]}


def _joined(table: pa.Table, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> pa.Table:
    """Return the input rows that `rows` number, with `columns` of `rows` beside them."""
    joined = table.take(pa.array([row["row"] - 1 for row in rows], pa.int64()))
    for column in columns:
        values = pa.array([row[column] for row in rows], _TYPES[column])
        joined = joined.append_column(column, values)
    return joined
