"""Join the output folders of two scorings by shard and row, a shard at a time."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.common.errors import DataError, ParameterError
from tasks.common.text import columns_called
from tasks.comparison.types import RowChoice
from tasks.dataset.labels import label_text
from tasks.output.records import Shard, ShardRecord, read_records, table_path
from tasks.output.tables import take_rows

_DECIDING_STEPS = ("lookup", "rules")

_ANSWER = ("prediction_label", "prediction_score", "language_detected")


class Scored(NamedTuple):
    """What a version answered to a row."""

    label: str
    score: float
    language: str


class Rejected(NamedTuple):
    """Why a version rejected a row.

    Attributes:
        reason: The step and the reason.
        is_decided: Whether a look-up or a rule refused it, which says nothing of the model.
    """

    reason: str
    is_decided: bool


class PairedRow(NamedTuple):
    """A row that two versions were given.

    Attributes:
        shard: Its shard.
        night: The day, in UTC, on which the other version answered the shard.
        row: Its number in the file, counted from 1.
        text: Its text; None if both rejected it.
        truth: Its label in the input; empty without one.
        present: What the present version answered, or why it rejected the row.
        other: What the other version answered, or why it rejected the row.
    """

    shard: str
    night: str
    row: int
    text: object
    truth: str
    present: Scored | Rejected
    other: Scored | Rejected


def match_shards(
    present: Path, other: Path, choice: RowChoice
) -> tuple[list[tuple[ShardRecord, ShardRecord]], dict[str, str]]:
    """Return the records of the shards that both folders have, and why others cannot be compared.

    Args:
        present: The output folder of the version that answers today.
        other: That of the version to compare with it.
        choice: Which of their shards.
    """
    uris = choice.versions or (None, None)
    first, second = (
        {
            record.shard.id: record
            for record in read_records(folder)
            if uri is None or (record.model_uri == uri and record.parameters.traffic is None)
        }
        for folder, uri in zip((present, other), uris, strict=True)
    )
    matched, left_out = [], {}
    if choice.versions:
        shards = first.keys() & second.keys()
    else:
        shards = _last_run(present) if choice.of_last_run else first.keys() | second.keys()
    for shard in sorted(shards):
        if shard not in first or shard not in second:
            folder = present if shard not in first else other
            left_out[shard] = f"{folder} does not have it"
        elif _rows_of(first[shard].shard) != _rows_of(second[shard].shard):
            left_out[shard] = "its input changed between the two scorings"
        else:
            matched.append((first[shard], second[shard]))
    return matched, left_out


def pair_rows(
    folders: tuple[Path, Path], records: tuple[ShardRecord, ShardRecord], label_column: str = ""
) -> Iterator[PairedRow]:
    """Yield the rows of a shard, in their order; of a shadow, those of its sample.

    Args:
        folders: The output folders of the present version and of the other.
        records: What `match_shards` returned of the shard.
        label_column: The column with the right labels; empty takes that of the scorings, if any.

    Raises:
        DataError: If a table of the shard cannot be read, or lacks a row.
        ParameterError: If there is no such column.
    """
    shard = records[0].shard
    columns = [label_column, *(record.parameters.label_column for record in records)]
    label_column = next(filter(None, columns), "")
    night = records[1].started.astimezone(UTC).date().isoformat()
    others = _read_side(folders[1], shard, records[1], label_column)
    rows: Sequence[int] = range(shard.first_row, shard.first_row + shard.rows)
    if records[1].parameters.sample:
        rows = sorted(others)
    presents = _read_side(folders[0], shard, records[0], label_column, rows)
    for row in rows:
        try:
            present, text, truth = presents[row]
            other, text_2, truth_2 = others[row]
        except KeyError:
            raise DataError(f"{shard.id}: row {row} is in one of {folders} alone") from None
        yield PairedRow(
            shard.id,
            night,
            row,
            text if text is not None else text_2,
            label_text(truth) or label_text(truth_2) or "",
            present,
            other,
        )


def _last_run(output_dir: Path) -> set[str]:
    """Return the shards of the last run into a folder."""
    manifest = json.loads((output_dir / "manifest.json").read_text(encoding="utf-8"))
    return {shard["id"] for shard in manifest["shards"]}


def _rows_of(shard: Shard) -> tuple[Any, ...]:
    return shard.sha256, shard.first_row, shard.rows, shard.read_as


def _read_side(
    folder: Path,
    shard: Shard,
    record: ShardRecord,
    label_column: str,
    rows: Sequence[int] | None = None,
) -> dict[int, tuple[Scored | Rejected, Any, Any]]:
    """Return answer or reason, text and label of rows of a shard; None takes all."""
    scored = _read(path := table_path(folder, "predictions", shard.id), rows)
    if label_column and not columns_called(scored.column_names, label_column):
        raise ParameterError(
            f"label_column: {label_column!r} is not in {path}; expected a column of the input"
        )
    rejected = _read(table_path(folder, "rejected", shard.id), rows)
    answers = zip(*(scored[name].to_pylist() for name in _ANSWER), strict=True)
    found: dict[int, tuple[Scored | Rejected, Any, Any]] = {
        row: (Scored(*answer), text, truth)
        for row, answer, text, truth in zip(
            scored["row"].to_pylist(),
            answers,
            _values(scored, record.parameters.text_column),
            _values(scored, label_column),
            strict=True,
        )
    }
    reasons = zip(rejected["step"].to_pylist(), rejected["reason"].to_pylist(), strict=True)
    truths = _values(rejected, label_column)
    for row, (step, reason), truth in zip(
        rejected["row"].to_pylist(), reasons, truths, strict=True
    ):
        found[row] = (Rejected(f"{step}: {reason}", step in _DECIDING_STEPS), None, truth)
    return found


def _values(table: pa.Table, column: str) -> list[Any]:
    names = columns_called(table.column_names, column) if column else []
    return table[names[0]].to_pylist() if names else [None] * table.num_rows


def _read(path: Path, rows: Sequence[int] | None) -> pa.Table:
    try:
        # Not read_table, whose data sets have columns of their own.
        table = pq.ParquetFile(path).read()
        if rows is None:
            return table
        wanted = set(rows)
        numbers = table["row"].to_pylist()
        return take_rows(table, [place for place, row in enumerate(numbers) if row in wanted])
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read ({error}); score its shard again") from error
