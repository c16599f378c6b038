"""Find a few rows of the output for the report, and shorten their texts.

Rejected rows are found for each reason, scored rows for each predicted label.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.common.errors import DataError
from tasks.common.text import columns_called
from tasks.output.records import ShardRecord, table_path
from tasks.output.tables import extract_texts
from tasks.scoring.types import ScoringParameters, ShardOutcome

logger = logging.getLogger(__name__)

_MAX_CHARACTERS = 120
_MAX_LABELS = 10
_BATCH_ROWS = 64  # rows may be large


@dataclass(frozen=True)
class Example:
    """A row.

    Attributes:
        shard: Its shard.
        row: Its number in the file, counted from 1.
        text: Its text, or the line that could not be parsed, shortened, without control characters.
    """

    shard: str
    row: int
    text: str


@dataclass(frozen=True)
class ScoredExample(Example):
    """A row with its prediction."""

    label: str
    score: float


Found = TypeVar("Found", bound=Example)


def find_rejected_examples(
    parameters: ScoringParameters,
    outcomes: Sequence[ShardOutcome],
    reasons: Collection[str],
    most: int,
) -> dict[str, list[Example]]:
    """Return rejected rows by step and reason.

    Reads only shards whose record counts a reason with too few rows so far, in small batches.

    Args:
        parameters: What the shards were scored with.
        outcomes: One for each shard.
        reasons: Reasons to find rows for.
        most: Maximum of rows for each reason; 0 reads nothing.

    Raises:
        DataError: If a file of rejected rows cannot be read.
    """

    def read(shard: str) -> Iterator[tuple[str, Example]]:
        path = table_path(parameters.output_dir, "rejected", shard)
        columns = ("shard", "row", "raw", "step", "reason")
        for row, text in _read_rows(path, columns, parameters.rows.text_column):
            quoted = shorten_text(text if row["raw"] is None else row["raw"])
            yield f"{row['step']}: {row['reason']}", Example(row["shard"], row["row"], quoted)

    return _find(outcomes, reasons, most, lambda record: record.reasons, read)


def find_scored_examples(
    parameters: ScoringParameters, outcomes: Sequence[ShardOutcome], most: int
) -> list[ScoredExample]:
    """Return scored rows: the first ones of each predicted label, and of ten labels at most.

    Args:
        parameters: What the shards were scored with.
        outcomes: One for each shard.
        most: Maximum of rows for each label; 0 reads nothing.

    Raises:
        DataError: If a file of predictions cannot be read.
    """

    def read(shard: str) -> Iterator[tuple[str, ScoredExample]]:
        path = table_path(parameters.output_dir, "predictions", shard)
        columns = ("shard", "row", "prediction_label", "prediction_score")
        for row, text in _read_rows(path, columns, parameters.rows.text_column):
            shard, number, label, score = (row[name] for name in columns)
            yield label, ScoredExample(shard, number, shorten_text(text), label, score)

    labels = parameters.model.labels[:_MAX_LABELS]
    found = _find(outcomes, labels, most, lambda record: record.labels, read)
    return [row for rows in found.values() for row in rows]


def sample_rows(
    parameters: ScoringParameters, outcomes: Sequence[ShardOutcome], most: int
) -> list[dict[str, object]]:
    """Return a sample of the predictions as a table; none if a file cannot be read."""
    try:
        found = find_scored_examples(parameters, outcomes, most)
    except DataError as error:
        logger.warning("no sample of the predictions: %s", error)
        return []
    return [
        {
            "text": row.text,
            "prediction_label": row.label,
            "prediction_score": round(row.score, 4),
            "shard": row.shard,
            "row": row.row,
        }
        for row in found
    ]


def _find(
    outcomes: Sequence[ShardOutcome],
    kinds: Collection[str],
    most: int,
    counts: Callable[[ShardRecord], Mapping[str, int]],
    read: Callable[[str], Iterator[tuple[str, Found]]],
) -> dict[str, list[Found]]:
    found: dict[str, list[Found]] = {kind: [] for kind in kinds}
    for outcome in outcomes:
        wanted = {kind for kind, rows in found.items() if len(rows) < most}
        if not wanted:
            break
        if outcome.record is None or not (wanted := wanted & counts(outcome.record).keys()):
            continue
        for kind, example in read(outcome.id):
            if kind in found and len(found[kind]) < most:
                found[kind].append(example)
            if all(len(found[name]) >= most for name in wanted):
                break
    return found


def _read_rows(
    path: Path, columns: Sequence[str], text_column: str
) -> Iterator[tuple[dict[str, Any], object]]:
    """Yield the named columns of each row, and its text, or None without a column of texts."""
    try:
        with pq.ParquetFile(path) as file:
            own = columns_called(file.schema_arrow.names, text_column)[:1]
            for batch in file.iter_batches(_BATCH_ROWS, columns=[*columns, *own]):
                rows = pa.Table.from_batches([batch])
                texts = extract_texts(rows, own[0]) if own else [None] * rows.num_rows
                yield from zip(rows.select(columns).to_pylist(), texts, strict=True)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read; expected the table of a shard") from error


def shorten_text(value: object) -> str:
    """Return the begin of a value as one may print it, or in words what has none."""
    if value is None:
        return "(null)"
    if isinstance(value, bytes):
        value = value[: 4 * _MAX_CHARACTERS].decode(errors="replace")
    text = str(value)
    if not text.strip():
        return "(empty)" if not text else f"({len(text)} blank characters)"
    short = text if len(text) <= _MAX_CHARACTERS else f"{text[: _MAX_CHARACTERS - 1]}…"
    # Replaces control characters, lone surrogates and marks of the writing direction.
    return "".join(character if character.isprintable() else "·" for character in short)
