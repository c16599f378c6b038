"""`python -m benchmarks.detectors`: accuracy and speed of the language detectors, as Markdown.

The texts are cut from the translated manual pages that Debian installs.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from benchmarks.machine import describe
from benchmarks.man_pages import cut_texts, read_languages
from pyfunc.contract import Language
from pyfunc.detectors.detector import LanguageDetector
from pyfunc.detectors.selection import DETECTORS, open_detector
from tasks.common.text import markdown_table

LENGTHS = (10, 20, 50, 100, 500)

# Of a language and length: with fewer, a language is left out; more say nothing new.
LEAST_TEXTS, MOST_TEXTS = 20, 200
LEAST_LANGUAGES = 10

ROUNDS = 3  # other programs make some slower, also in time of the CPU

EVERYDAY = (
    ("en", "My laptop is broken"),
    ("en", "Great movie"),
    ("en", "Where is my order?"),
    ("en", "refund please"),
    ("de", "Das Display flackert"),
    ("de", "Wo bleibt mein Paket?"),
    ("fr", "Ceci est une phrase"),
    ("fr", "Très bon film"),
    ("es", "No funciona nada"),
    ("it", "Non si accende più"),
    ("nl", "Mijn laptop is kapot"),
    ("no", "Hvor er pakken min?"),
    ("ru", "Очень хороший фильм"),
    ("zh", "很好看的电影"),
)


class Found(NamedTuple):
    """What a detector made of the texts of one length.

    Attributes:
        right: The share of texts whose language was found, the mean of the languages.
        reliable: The share of texts whose result is reliable, likewise.
        right_if_reliable: The share of these that is right; NaN if none is reliable.
        microseconds: Time of the CPU a text, in the fastest of some rounds.
    """

    right: float
    reliable: float
    right_if_reliable: float
    microseconds: float


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detectors", description=__doc__)
    parser.add_argument("--man", type=Path, default=Path("/usr/share/man"), metavar="FOLDER")
    folder = parser.parse_args().man
    languages = read_languages(folder)
    if len(languages) < LEAST_LANGUAGES:
        parser.error(
            f"{folder}: manual pages in {len(languages)} languages; expected {LEAST_LANGUAGES} or "
            "more, as of a Debian with the package man-db and without localepurge"
        )
    sys.stdout.write(render(languages, describe().cpu))


def render(languages: Mapping[str, Sequence[str]], cpu: str) -> str:
    """Return the tables of measured lengths and of everyday texts, in Markdown.

    Args:
        languages: The prose of pages by language.
        cpu: Name of the CPU.
    """
    detectors = {name: open_detector(name) for name in DETECTORS}
    rows: list[tuple[str, ...]] = []
    for characters in LENGTHS:
        texts = texts_of(languages, characters)
        for name, detector in detectors.items() if texts else ():
            found = measure(detector, texts)
            total = f"{sum(map(len, texts.values())):,} in {len(texts)}"
            rows.append((str(characters), total, name, *_cells(found)))
    head = (
        *("characters", "texts, languages", "detector"),
        *("right", "reliable", "right if reliable", "CPU µs a text"),
    )
    everyday = [
        (text, code, *(_shown(detector.detect(text), code) for detector in detectors.values()))
        for code, text in EVERYDAY
    ]
    return "\n".join(
        [
            markdown_table(head, rows),
            f"\nOne thread of {cpu}. In bold what is wrong:\n",
            markdown_table(("text", "language", *detectors), everyday),
            "",
        ]
    )


def texts_of(languages: Mapping[str, Sequence[str]], characters: int) -> dict[str, list[str]]:
    """Return texts of one length by language, of those that have enough."""
    texts = {
        code: cut_texts(pages, code, characters=characters, most=MOST_TEXTS)
        for code, pages in languages.items()
    }
    return {code: found for code, found in texts.items() if len(found) >= LEAST_TEXTS}


def measure(detector: LanguageDetector, texts: Mapping[str, Sequence[str]]) -> Found:
    """Return how often a detector is right, each language counting the same.

    Args:
        detector: The detector.
        texts: Texts by the code of their language.
    """
    times = []
    for _ in range(ROUNDS):
        started = time.process_time()
        found = {code: [detector.detect(text) for text in part] for code, part in texts.items()}
        times.append(time.process_time() - started)
    sure = {code: [result for result in part if result.reliable] for code, part in found.items()}
    return Found(
        right=fmean(_share_right(code, part) for code, part in found.items()),
        reliable=fmean(len(sure[code]) / len(found[code]) for code in found),
        right_if_reliable=_mean([_share_right(code, part) for code, part in sure.items() if part]),
        microseconds=min(times) / sum(map(len, found.values())) * 1e6,
    )


def _share_right(code: str, results: Sequence[Language]) -> float:
    return sum(result.code == code for result in results) / len(results)


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else float("nan")


def _cells(found: Found) -> tuple[str, ...]:
    shares = (found.right, found.reliable, found.right_if_reliable)
    return *(f"{share:.1%}" for share in shares), f"{found.microseconds:.0f}"


def _shown(result: Language, code: str) -> str:
    known = f"{result.code} {result.probability:.2f}"
    known += ", reliable" if result.reliable else ""
    return known if result.code == code else f"**{known}**"


if __name__ == "__main__":
    main()
