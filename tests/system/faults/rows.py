"""Files to score, with all that real ones have: breaks in cells, nulls, repeats, broken lines."""

import csv
import gzip
import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_WORDS = [
    "great",
    "awful",
    "film",
    "plot",
    "of",
    "a",
    "the",
    "and",
    "slow",
    "actor",
    "scene",
    "ending",
    "dull",
    "bright",
    "story",
    "so",
    "very",
]
_START = datetime(2024, 1, 1, tzinfo=UTC)


def write_rows(folder: Path, rows: int, seed: int) -> Path:
    """Write a CSV, a gzipped JSONL and a Parquet file of so many rows each into a new folder.

    Some texts occur twice in a file or in two of them, some are null or empty; the CSV and
    the JSONL file have a few malformed lines.
    """
    folder.mkdir()
    chance = random.Random(seed)
    write_csv(folder / "a.csv", texts(rows, chance), broken_every=500)
    _write_jsonl(folder / "b.jsonl.gz", texts(rows, chance), broken_every=500)
    write_parquet(folder / "c.parquet", texts(rows, chance))
    return folder


def texts(rows: int, chance: random.Random) -> list[str | None]:
    """Return texts of which about one in ten is a repeat and one in a hundred no text."""
    return [_text(chance) for _ in range(rows)]


def write_csv(path: Path, values: Sequence[str | None], broken_every: int = 0) -> None:
    """Write a CSV file; so many rows apart, a line has a cell too many, or is not UTF-8."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "note"])
        for number, value in enumerate(values):
            if broken_every and number % broken_every == broken_every - 1:
                file.write(f"{number},one,cell,too many\r\n{number},caf\udce9,latin\r\n")
            writer.writerow([number, value or "", "NA" if number % 3 else ""])


def write_parquet(path: Path, values: Sequence[str | None]) -> None:
    """Write a Parquet file with a nested column, times and nulls."""
    numbers = range(len(values))
    table = pa.table(
        {
            "id": pa.array([number if number % 7 else None for number in numbers], pa.int64()),
            "text": pa.array(values, pa.string()),
            "seen": [_START + timedelta(seconds=number) for number in numbers],
            "tags": [["x", None][: number % 3] for number in numbers],
        }
    )
    pq.write_table(table, path, row_group_size=1_000)


def _write_jsonl(path: Path, values: Sequence[str | None], broken_every: int) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for number, value in enumerate(values):
            if number % broken_every == broken_every - 1:
                file.write('{"id": 1, "text": "\\ud800"}\n{"id": 1, "text": \n')
            file.write(json.dumps({"id": number, "text": value}) + "\n")


def _text(chance: random.Random) -> str | None:
    kind = chance.random()
    if kind < 0.01:
        return chance.choice([None, ""])
    if kind < 0.1:
        return f"a film that many have seen, number {chance.randrange(300)}"
    between = "\n" if kind < 0.15 else " "
    words = between.join(chance.choices(_WORDS, k=chance.randrange(3, 25)))
    return f"{words} {chance.randrange(10**9)}"
