"""Benchmark texts: samples of the embedded data sets with a fixed seed."""

import csv
import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer

from benchmarks.plan import KINDS, SEED, SOURCES, Kind


def sample(kind: Kind, rows: int) -> list[str]:
    """Return `rows` texts of a kind, the same in every run."""
    return list(_shuffled(kind)[:rows])


def mixed(rows: int) -> list[str]:
    """Return `rows` texts of both kinds, in the same proportion for every number."""
    everything = [text for kind in KINDS for text in _shuffled(kind)]
    random.Random(SEED).shuffle(everything)
    return everything[:rows]


def write_files(texts: Sequence[str], folder: Path, files: int) -> list[str]:
    """Write texts as CSV files of the column `text` and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        str(_write(texts[number::files], folder / f"part-{number + 1:02}.csv"))
        for number in range(files)
    ]


def token_counts(texts: Sequence[str], classifier: Path, max_tokens: int) -> list[int]:
    """Return the tokens of each text: truncated, with special tokens, without padding."""
    tokenizer: Tokenizer = Tokenizer.from_file(str(classifier / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return [len(encoding.ids) for encoding in tokenizer.encode_batch(list(texts))]


@lru_cache(maxsize=2)
def _shuffled(kind: Kind) -> tuple[str, ...]:
    from tasks.dataset.sources import fetch_tables

    (path,) = fetch_tables(SOURCES[kind])
    with path.open(newline="", encoding="utf-8") as rows:
        texts = [row["text"] for row in csv.DictReader(rows)]
    random.Random(SEED).shuffle(texts)
    return tuple(texts)


def _write(texts: Sequence[str], path: Path) -> Path:
    with path.open("w", newline="", encoding="utf-8") as output:
        # Without quotes a carriage return in a text would end the row.
        writer = csv.writer(output, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(("text",))
        writer.writerows((text,) for text in texts)
    return path
