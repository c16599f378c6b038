"""Cap what one person may say: the share of the labels that count."""

from collections.abc import Mapping
from fractions import Fraction


def largest_count(counts: Mapping[str, int], others: int, max_share: float) -> int:
    """Return how many labels of each person count at most.

    It is the largest number for which nobody has more than the share of what is left then, and so
    leaves the most labels. If one person alone has given labels, and the share is below 1, it is 0:
    one label would be all.

    Args:
        counts: Labels by person.
        others: Labels of which nobody says who gave them; they are not capped.
        max_share: The share, from 0 to 1; it is taken as it is written, in decimal digits.
    """
    share = Fraction(str(max_share))
    most = max(counts.values(), default=0)
    # Fewer labels of a person leave fewer in all. What is allowed of these is lower from step to
    # step, and never lower than the solution, so that it ends there.
    while most > (allowed := int(share * _labels_left(counts, others, most))):
        most = allowed
    return most


def _labels_left(counts: Mapping[str, int], others: int, most: int) -> int:
    return others + sum(min(count, most) for count in counts.values())
