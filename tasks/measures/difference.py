"""Difference of two accuracies, with its confidence interval."""

import math
from collections.abc import Sequence
from typing import NamedTuple

_CONFIDENCE = 0.95


class Difference(NamedTuple):
    """A difference of two accuracies, from -1 to 1, and the bounds of its interval."""

    value: float
    low: float
    high: float


def difference_of_accuracies(right: Sequence[int], rows: Sequence[int]) -> Difference | None:
    """Return the second accuracy minus the first; None if one of them has no row.

    The interval is Newcombe's hybrid score interval, made of Wilson's intervals of both (method 10
    of R. G. Newcombe, "Interval estimation for the difference between independent proportions",
    Statistics in Medicine 17, 1998, 873-890). It is right for few rows, and for accuracies close to
    1. It takes the rows as independent.

    Args:
        right: Rows with the right label, of the first and of the second.
        rows: All rows, of the first and of the second.
    """
    if not all(rows):
        return None
    first, second = (found / total for found, total in zip(right, rows, strict=True))
    (low_1, high_1), (low_2, high_2) = map(wilson_interval, right, rows)
    value = second - first
    return Difference(
        value,
        value - math.hypot(second - low_2, high_1 - first),
        value + math.hypot(high_2 - second, first - low_1),
    )


def wilson_interval(right: int, rows: int, confidence: float = _CONFIDENCE) -> tuple[float, float]:
    """Return the bounds of Wilson's score interval of an accuracy."""
    from scipy.stats import binomtest

    found = binomtest(right, rows).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)
