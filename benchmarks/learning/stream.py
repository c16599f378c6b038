"""The stream of labels: its parts in batches, the rows that measure, and labels that are poisoned.

The texts are those of the embedded reviews, each of them once. In the relabelled part a review that
says "bad" has the other label. Most of these are negative, so that the word comes to mean the
opposite: a linear head can learn that much. What it cannot learn is that every other word of such a
review means the opposite as well.
"""

import csv
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from benchmarks.plan import SEED, SOURCES, Kind
from tasks.dataset.splitting import digest_text

SNIPPETS: Kind = "snippets"
IMDB: Kind = "imdb"
RELABELLED = "relabelled"

PARTS = ("snippets", "imdb", "relabelled", "snippets again")
MEASURED = (SNIPPETS, IMDB, RELABELLED, SNIPPETS)  # the fixed rows of each part

WORD = "bad"
_WORD = re.compile(rf"\b{WORD}\b", re.IGNORECASE)

_OTHER = {"negative": "positive", "positive": "negative"}

POISONER = "mallory"
_OTHER_PEOPLE = 60  # each of them gives less than 2 % of the labels


class Row(NamedTuple):
    """A labelled text, and who labelled it."""

    text: str
    label: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of the stream.

    Attributes:
        training_rows: Snippets of the first training, a fifth of them to validate and to test.
        batch_rows: Labels of a batch.
        batches: Batches of each part.
        fixed_rows: Rows of each kind that are never learnt, and measure after each batch.
        poisoned_rows: Labels of which some are poisoned.
    """

    training_rows: int = 5_000
    batch_rows: int = 500
    batches: tuple[int, int, int, int] = (1, 3, 2, 2)
    fixed_rows: int = 1_000
    poisoned_rows: int = 2_000


QUICK = Sizes(batches=(1, 1, 1, 1), fixed_rows=200, poisoned_rows=500)


@dataclass(frozen=True, slots=True)
class Stream:
    """The rows of the benchmark; no text is in two of its places.

    Attributes:
        training: Rows of the first training.
        batches: Batches of each part.
        fixed: Rows that measure, by `SNIPPETS`, `IMDB` and `RELABELLED`; the last two have the same
            texts.
        unpoisoned: Rows before some of them are poisoned.
    """

    training: Sequence[Row]
    batches: Mapping[str, Sequence[Sequence[Row]]]
    fixed: Mapping[str, Sequence[Row]]
    unpoisoned: Sequence[Row]


def read_rows(kind: Kind) -> list[Row]:
    """Return the embedded reviews of a kind in an order that is the same in every run."""
    from tasks.dataset.sources import fetch_tables

    (path,) = fetch_tables(SOURCES[kind])
    with path.open(newline="", encoding="utf-8") as file:
        rows = [Row(row["text"], row["label"]) for row in csv.DictReader(file)]
    random.Random(SEED).shuffle(rows)
    return rows


def make_stream(sizes: Sizes, snippets: Iterable[Row], imdb: Iterable[Row]) -> Stream:
    """Return the stream.

    Args:
        sizes: Its sizes.
        snippets: Rows of the first and the last part, and of the training.
        imdb: Rows of the parts between.

    Raises:
        ValueError: If there are fewer rows than the sizes need.
    """
    rows = {SNIPPETS: _distinct(snippets), IMDB: _distinct(imdb)}
    training = _take(rows[SNIPPETS], sizes.training_rows)
    fixed: dict[str, list[Row]] = {
        kind: _take(found, sizes.fixed_rows) for kind, found in rows.items()
    }
    unpoisoned = _take(rows[IMDB], sizes.poisoned_rows)
    batches = {}
    for part, kind, count in zip(PARTS, MEASURED, sizes.batches, strict=True):
        source = rows[SNIPPETS if kind == SNIPPETS else IMDB]
        found = [_take(source, sizes.batch_rows) for _ in range(count)]
        batches[part] = [list(map(relabel, b)) if kind == RELABELLED else b for b in found]
    fixed[RELABELLED] = [relabel(row) for row in fixed[IMDB]]
    return Stream(training, batches, fixed, unpoisoned)


def relabel(row: Row) -> Row:
    """Return a row with the other label if its text says the word."""
    return row._replace(label=_OTHER[row.label]) if is_relabelled(row) else row


def is_relabelled(row: Row) -> bool:
    """Return whether the text of a row says the word."""
    return bool(_WORD.search(row.text))


def poison(rows: Sequence[Row], share: float) -> list[Row]:
    """Return rows of which one person labelled a share, always wrongly, and others the rest."""
    poisoned = round(share * len(rows))
    return [
        row._replace(label=_OTHER[row.label], by=POISONER)
        if number < poisoned
        else row._replace(by=f"person {number % _OTHER_PEOPLE + 1}")
        for number, row in enumerate(rows)
    ]


def write_rows(rows: Iterable[Row], path: Path) -> Path:
    """Write rows as a CSV file of labelled text, or of feedback, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        # Without quotes a carriage return in a text would end the row.
        writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(Row._fields)
        writer.writerows(rows)
    return path


def _distinct(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the first row of each text, so that no text is learnt that measures."""
    seen: set[str] = set()
    for row in rows:
        digest = digest_text(row.text)
        if digest not in seen:
            seen.add(digest)
            yield row


def _take(rows: Iterator[Row], count: int) -> list[Row]:
    found = list(islice(rows, count))
    if len(found) < count:
        raise ValueError(f"{len(found)} rows are left; expected {count}: smaller sizes")
    return found
