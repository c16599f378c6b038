"""Counts by value (labels, languages, reasons) and histograms of scores."""

from collections import Counter
from collections.abc import Iterable, Sequence

SCORE_BINS = 20  # of equal width, from 0 to 1


def count_values(values: Iterable[str]) -> dict[str, int]:
    """Return the frequency of each value, in descending order."""
    return dict(Counter(values).most_common())


def sum_counts(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Return the sum of several counts by value, in descending order."""
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total.most_common())


def score_histogram(scores: Sequence[float]) -> tuple[int, ...]:
    """Return the number of scores, each from 0 to 1, in each of `SCORE_BINS` bins."""
    bins = Counter(min(int(score * SCORE_BINS), SCORE_BINS - 1) for score in scores)
    return tuple(bins[number] for number in range(SCORE_BINS))
