"""The tokens of a window: one tokenizer reads a text once, and each member gets what it would read.

The library tokenises a whole text before it truncates it. So the member with the most tokens reads
for those with the same tokenizer, and its tokens are cut for the others.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..classifier import Classifier
from ..tokens import Encoder, Tokens

logger = logging.getLogger("pyfunc.pipeline")


@dataclass(frozen=True, slots=True)
class Cut:
    """Truncates tokens as an encoder does that reads fewer of a text.

    Attributes:
        max_tokens: Longer rows are truncated to this many tokens.
        head: How many of them are the first of the row; the others are its last.
    """

    max_tokens: int
    head: int

    def apply(self, row: Tokens) -> Tokens:
        """Return the tokens of a text, truncated."""
        if len(row.ids) <= self.max_tokens:
            return row
        types = None if row.types is None else self._keep_ends(row.types)
        if types is not None and not types.any():
            types = None
        return Tokens(self._keep_ends(row.ids), types, True)

    def _keep_ends(self, values: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        tail = self.max_tokens - self.head
        return np.concatenate((values[: self.head], values[len(values) - tail :]))


@dataclass(frozen=True, slots=True)
class Source:
    """Where a classifier's tokens come from.

    Attributes:
        reader: The classifier that tokenises.
        cut: What is done to its tokens, or None if they stay as they are.
    """

    reader: Classifier
    cut: Cut | None = None


class WindowTokens:
    """The texts of a window, each tokenised once by each reader.

    Attributes:
        texts: The texts.
    """

    def __init__(self, texts: Sequence[str], sources: Mapping[Classifier, Source]) -> None:
        """Take a window; nothing is tokenised yet.

        Args:
            texts: Its texts.
            sources: Where the tokens of each classifier come from.
        """
        self.texts = texts
        self._sources = sources
        self._tokens: dict[Classifier, dict[int, Tokens]] = {}

    def tokens_of(self, rows: Sequence[int], classifier: Classifier) -> list[Tokens]:
        """Return the tokens of rows.

        Raises:
            Exception: If the tokenizer raises on one of them; none is remembered then.
        """
        source = self._sources[classifier]
        known = self._tokens.setdefault(source.reader, {})
        if new := [row for row in rows if row not in known]:
            tokens = source.reader.encode([self.texts[row] for row in new])
            known.update(zip(new, tokens, strict=True))
        found = [known[row] for row in rows]
        return found if source.cut is None else [source.cut.apply(row) for row in found]


def find_sources(classifiers: Sequence[Classifier]) -> dict[Classifier, Source]:
    """Return where the tokens of classifiers come from; one alone reads for itself."""
    if len(classifiers) == 1:  # a digest takes time
        return {classifiers[0]: Source(classifiers[0])}
    return {classifier: _source_of(classifier, classifiers) for classifier in classifiers}


def find_cut(shorter: Encoder, longer: Encoder) -> Cut | None:
    """Return what makes the tokens of one encoder from those of another, or None.

    A post-processor may put special tokens where a cut would lose them. So the cut is tried.

    Args:
        shorter: The encoder with fewer `max_tokens`.
        longer: One of equal `digest`.
    """
    lengths = (1, shorter.max_tokens, longer.max_tokens, longer.max_tokens + 1)
    texts = [" ".join(map(str, range(length))) for length in lengths]
    expected, whole = shorter.encode(texts), longer.encode(texts)
    if not (expected[-1].truncated and whole[-1].truncated):
        return None
    before, after = shorter.count_special_tokens(texts[-1])
    cut = Cut(shorter.max_tokens, before if shorter.side == "left" else shorter.max_tokens - after)
    found = [cut.apply(row) for row in whole]
    return cut if all(map(_are_equal, found, expected)) else None


def _source_of(classifier: Classifier, others: Sequence[Classifier]) -> Source:
    encoder = classifier.encoder
    alike = [other for other in others if other.encoder.digest == encoder.digest]
    widest = max(alike, key=lambda other: other.encoder.max_tokens)
    equal = next(other for other in alike if other.encoder.max_tokens == encoder.max_tokens)
    if widest.encoder.max_tokens == encoder.max_tokens:
        return Source(equal)
    if cut := find_cut(encoder, widest.encoder):
        return Source(widest, cut)
    logger.info("texts are tokenised again for %d tokens: a cut changes them", encoder.max_tokens)
    return Source(equal)


def _are_equal(one: Tokens, other: Tokens) -> bool:
    return one.truncated == other.truncated and all(
        np.array_equal([] if ours is None else ours, [] if theirs is None else theirs)
        for ours, theirs in ((one.ids, other.ids), (one.types, other.types))
    )
