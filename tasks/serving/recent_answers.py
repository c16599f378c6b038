"""The newest answers of a version in memory, in front of its prediction cache on disk.

A look-up in SQLite needs a thread, and changing threads takes longer than the look-up.
"""

import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cachetools import LRUCache

from pyfunc.contract import Answer, Outcome

_MAX_BYTES = 16 * 2**20

# What takes memory beside a text, about.
_BYTES_PER_ANSWER = 1_000
_BYTES_PER_SCORE = 150
_BYTES_PER_MEMBER = 300


@dataclass(frozen=True, slots=True)
class _Remembered:
    outcome: Outcome
    size: int


class RecentAnswers:
    """Answers by text; those that were asked for least recently are dropped."""

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        """Start without any.

        Args:
            max_bytes: Bytes that texts and answers take at most, about.
        """
        self._answers: LRUCache[tuple[object, bool], _Remembered] = LRUCache(
            max_bytes, lambda remembered: remembered.size
        )
        self._lock = threading.Lock()

    def find(self, texts: Sequence[object], *, all_scores: bool) -> list[Outcome] | None:
        """Return the outcome of each text, from the cache; None if one is not there."""
        found = []
        with self._lock:
            for text in texts:
                remembered = self._answers.get((text, all_scores))
                if remembered is None:
                    return None
                found.append(remembered.outcome)
        return found

    def add(
        self, texts: Sequence[object], outcomes: Sequence[Outcome], *, all_scores: bool
    ) -> None:
        """Remember the answers among the outcomes; what is refused is not remembered."""
        for text, outcome in zip(texts, outcomes, strict=True):
            if outcome.answer is None:
                continue
            size = sys.getsizeof(text) + _size_of(outcome.answer)
            if size <= self._answers.maxsize:
                cached = replace(outcome, source="cached")
                with self._lock:
                    self._answers[text, all_scores] = _Remembered(cached, size)


def _size_of(answer: Answer) -> int:
    scores = _BYTES_PER_SCORE * len(answer.prediction.scores or ())
    return _BYTES_PER_ANSWER + scores + _BYTES_PER_MEMBER * len(answer.members)
