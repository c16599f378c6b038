"""Counts by value, as of labels, languages and reasons, and histograms of scores."""

from collections import Counter
from collections.abc import Iterable, Sequence

SCORE_BINS = 20  # of equal width, from 0 to 1


def count_values(values: Iterable[str]) -> dict[str, int]:
    """Return how often each value occurs, the most frequent first."""
    return dict(Counter(values).most_common())


def add_counts(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Return the sum of several counts, the most frequent value first."""
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total.most_common())


def histogram(scores: Sequence[float]) -> tuple[int, ...]:
    """Return how many scores are in each of `SCORE_BINS` bins of equal width, from 0 to 1."""
    bins = Counter(min(int(score * SCORE_BINS), SCORE_BINS - 1) for score in scores)
    return tuple(bins[number] for number in range(SCORE_BINS))
