"""Two versions on the same labelled rows: is one better, or no worse than by a margin?"""

import math
from collections.abc import Iterable
from typing import NamedTuple, Self

from tasks.measures.difference import Difference, wilson_interval

# Of the test that one version is better, and of the bound that it is no worse: one-sided.
LEVEL = 0.05

# An accuracy that is lower by less is no worse.
MARGIN = 0.005

_BETS = 1_000  # of equal shares of the capital, each of another size


class PairedCounts(NamedTuple):
    """Rows by which of two versions is right: the present one, and another that may replace it."""

    both: int
    only_present: int
    only_other: int
    neither: int

    @classmethod
    def of(cls, pairs: Iterable[tuple[bool, bool]]) -> Self:
        """Count rows, each given as whether the present version and the other are right."""
        found = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
        for present, other in pairs:
            found[bool(present), bool(other)] += 1
        return cls(*found.values())

    @property
    def rows(self) -> int:
        """All rows."""
        return sum(self)

    @property
    def accuracy_of_present(self) -> float:
        """The share of rows that the present version is right for."""
        return (self.both + self.only_present) / self.rows

    @property
    def accuracy_of_other(self) -> float:
        """The share of rows that the other version is right for."""
        return (self.both + self.only_other) / self.rows


def mcnemar_p_value(counts: PairedCounts) -> float:
    """Return how likely the other version wins as many rows or more if both are equally good.

    It is the exact one-sided test of Q. McNemar, "Note on the sampling error of the difference
    between correlated proportions or percentages", Psychometrika 12, 1947, 153-157: of the rows
    that just one of them is right for, each has it with probability 1/2. It is 1 without such rows.
    """
    from scipy.stats import binomtest

    decided = counts.only_present + counts.only_other
    if not decided:
        return 1.0
    return float(binomtest(counts.only_other, decided, alternative="greater").pvalue)


def repeated_p_value(counts: PairedCounts, margin: float = 0.0) -> float:
    """Return a p-value that the other version is better, which one may look at after each new row.

    If it is not, the value is ever below `level` with probability `level` at most, however often
    one looks and whenever one stops; `mcnemar_p_value` holds for a single look. It is the inverse
    of the capital of bets of several sizes, on a row that the other version alone is right for, by
    J. Ville's inequality: I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random
    variables by betting", Journal of the Royal Statistical Society B 86, 2024, 1-27.

    Args:
        counts: All rows so far.
        margin: By how much the accuracy may be lower, below 1; with 0 it has to be higher.
    """
    import numpy as np

    both, only_present, only_other, neither = counts
    bets = (np.arange(_BETS) + 0.5) / _BETS
    capital = (
        only_other * np.log1p(bets * (margin + 1))
        + (both + neither) * np.log1p(bets * margin)
        + only_present * np.log1p(bets * (margin - 1))
    )
    logarithm = float(np.logaddexp.reduce(capital)) - math.log(_BETS)
    return math.exp(min(0.0, -logarithm))


def paired_difference(counts: PairedCounts, level: float = LEVEL) -> Difference:
    """Return the accuracy of the other version minus that of the present one, with its bounds.

    Each bound is exceeded with probability `level` at most, about. They are Newcombe's hybrid score
    interval for paired data (method 10 of R. G. Newcombe, "Improved confidence intervals for the
    difference between binomial proportions based on paired data", Statistics in Medicine 17, 1998,
    2635-2650).

    Args:
        counts: One row or more.
        level: Of each side.
    """
    both, only_present, only_other, neither = counts
    rows = counts.rows
    right = (both + only_other, both + only_present)
    other, present = right[0] / rows, right[1] / rows
    confidence = 1 - 2 * level
    (low_1, high_1), (low_2, high_2) = (wilson_interval(found, rows, confidence) for found in right)
    product = math.prod((right[0], right[1], rows - right[0], rows - right[1]))
    covariance: float = both * neither - only_present * only_other
    if covariance > 0:
        covariance = max(covariance - rows / 2, 0)
    correlation = covariance / math.sqrt(product) if product else 0.0

    def distance(of_other: float, of_present: float) -> float:
        square = of_other**2 - 2 * correlation * of_other * of_present + of_present**2
        return math.sqrt(max(square, 0))

    value = other - present
    return Difference(
        value,
        value - distance(other - low_1, high_2 - present),
        value + distance(high_1 - other, present - low_2),
    )
