"""Has a distribution shifted? The population stability index of two histograms."""

from collections.abc import Sequence

# Above it, the scores of a version count as shifted.
SHIFT = 0.2

# In place of the share of a bin without rows, of which there is no logarithm. Evidently has the
# same: https://github.com/evidentlyai/evidently, `get_binned_data` of its statistical tests.
_SHARE_OF_NONE = 0.0001


def population_stability(bins: Sequence[int], reference: Sequence[int]) -> float | None:
    """Return the population stability index of two histograms; None if one has no rows.

    It is the sum of (a - b) ln(a / b) over the shares of each bin, which is 0 if they are alike.
    Of one distribution it is about (bins - 1) (1 / rows + 1 / rows of the reference), by chance:
    0.1 of two hundred rows in twenty bins (B. Yurdakul, "Statistical Properties of Population
    Stability Index", Western Michigan University, 2018).

    Args:
        bins: Rows by bin.
        reference: Rows by bin to compare with, in the same bins.
    """
    if not sum(bins) or not sum(reference):
        return None
    import numpy as np

    shares, before = (np.array(counts) / sum(counts) for counts in (bins, reference))
    if shares.shape != before.shape:
        raise ValueError(f"{len(bins)} bins and {len(reference)}; expected the same bins")
    shares, before = (np.where(share > 0, share, _SHARE_OF_NONE) for share in (shares, before))
    return float(((shares - before) * np.log(shares / before)).sum())
