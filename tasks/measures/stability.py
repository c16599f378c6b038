"""Has a distribution shifted? The population stability index of two histograms."""

from collections.abc import Sequence
from typing import NamedTuple

from tasks.measures.paired import LEVEL

# Above it, a distribution counts as shifted.
SHIFT = 0.2

# In place of the share of a bin without rows, of which there is no logarithm. Evidently has the
# same: https://github.com/evidentlyai/evidently, `get_binned_data` of its statistical tests.
_SHARE_OF_NONE = 0.0001


class Stability(NamedTuple):
    """How far two histograms are apart.

    Attributes:
        psi: The population stability index: 0 if their shares are alike.
        p_value: How likely rows of one distribution differ as much, by the test of homogeneity.
    """

    psi: float
    p_value: float

    @property
    def is_shift(self) -> bool:
        """Whether the index is above `SHIFT`, and that not by chance."""
        return self.psi > SHIFT and self.p_value < LEVEL


def population_stability(bins: Sequence[int], reference: Sequence[int]) -> Stability | None:
    """Return the population stability index of two histograms; None if one has no rows.

    It is the sum of (a - b) ln(a / b) over the shares of each bin. Of one distribution it is about
    (bins - 1) (1 / rows + 1 / rows of the reference) by chance (B. Yurdakul, "Statistical
    Properties of Population Stability Index", Western Michigan University, 2018): of two hundred
    rows each, in twenty bins, every second one is above 0.2. So Pearson's test has to agree.

    Args:
        bins: Rows by bin.
        reference: Rows by bin to compare with, in the same bins.

    Raises:
        ValueError: If these are not as many bins.
    """
    if not sum(bins) or not sum(reference):
        return None
    import numpy as np
    from scipy.stats import chi2_contingency

    if len(bins) != len(reference):
        raise ValueError(f"{len(bins)} bins and {len(reference)}; expected the same bins")
    counts = np.array([bins, reference])
    counts = counts[:, counts.any(axis=0)]
    shares = counts / counts.sum(axis=1, keepdims=True)
    one, other = np.where(shares > 0, shares, _SHARE_OF_NONE)
    psi = ((one - other) * np.log(one / other)).sum()
    return Stability(float(psi), float(chi2_contingency(counts).pvalue))
