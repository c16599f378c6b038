"""Find a few rejected rows for each reason and shorten them for the report."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.common.errors import DataError
from tasks.output.records import table_path
from tasks.output.tables import extract_texts
from tasks.scoring.types import ScoringParameters, ShardOutcome

_MAX_CHARACTERS = 120
_BATCH_ROWS = 64  # rows may be large


@dataclass(frozen=True)
class Example:
    """A rejected row.

    Attributes:
        shard: Its shard.
        row: Its number in the file, counted from 1.
        text: Its text, or the line that could not be parsed, shortened, without control characters.
    """

    shard: str
    row: int
    text: str


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
    found: dict[str, list[Example]] = {reason: [] for reason in reasons}
    for outcome in outcomes:
        wanted = {reason for reason, rows in found.items() if len(rows) < most}
        if not wanted:
            break
        if outcome.record is None or not wanted & outcome.record.reasons.keys():
            continue
        path = table_path(parameters.output_dir, "rejected", outcome.id)
        for reason, example in _read_examples(path, parameters.rows.text_column):
            if reason in found and len(found[reason]) < most:
                found[reason].append(example)
            if all(len(found[name]) >= most for name in wanted & outcome.record.reasons.keys()):
                break
    return found


def _read_examples(path: Path, text_column: str) -> Iterator[tuple[str, Example]]:
    try:
        with pq.ParquetFile(path) as file:
            own = [text_column] if text_column in file.schema_arrow.names else []
            columns = ["shard", "row", "raw", "step", "reason", *own]
            for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
                yield from _examples(pa.Table.from_batches([batch]), own)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read; expected a table of rejected rows") from error


def _examples(rows: pa.Table, own: Sequence[str]) -> Iterator[tuple[str, Example]]:
    texts = extract_texts(rows, own[0]) if own else [None] * rows.num_rows
    plain = rows.select(["shard", "row", "raw", "step", "reason"]).to_pylist()
    for row, text in zip(plain, texts, strict=True):
        quoted = _shorten(text if row["raw"] is None else row["raw"])
        yield f"{row['step']}: {row['reason']}", Example(row["shard"], row["row"], quoted)


def _shorten(value: object) -> str:
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
