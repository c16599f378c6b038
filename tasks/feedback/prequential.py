"""Running accuracy of each version: every label first tests the answer that was given before it.

The method is the prequential one of A. P. Dawid, "Present position and potential developments:
some personal views. Statistical theory: the prequential approach", Journal of the Royal Statistical
Society A 147, 1984, 278-292.
"""

from itertools import accumulate

import pandas as pd

from tasks.dataset.labels import label_key
from tasks.feedback.types import AccuracyWindow

WINDOW = 50  # labels


def prequential(rows: pd.DataFrame, window: int = WINDOW) -> dict[str, tuple[AccuracyWindow, ...]]:
    """Return the accuracy of each version over time, in windows; the last may be shorter.

    Args:
        rows: Labels with the answers before them: `when`, `text_digest`, `label`, `model_uri` and
            `answered_label`, as `load_feedback` returns them.
        window: Labels in a window.
    """
    rows = rows.sort_values(["when", "text_digest"])
    return {
        str(model_uri): _windows(found, window)
        for model_uri, found in rows.groupby("model_uri", sort=True)
    }


def count_right(rows: pd.DataFrame) -> int:
    """Return how many labels are the answer that was given before them."""
    return sum(_is_right(rows))


def _is_right(rows: pd.DataFrame) -> list[bool]:
    pairs = zip(rows["label"], rows["answered_label"], strict=True)
    return [label_key(label) == label_key(answer) for label, answer in pairs]


def _windows(rows: pd.DataFrame, window: int) -> tuple[AccuracyWindow, ...]:
    whens = [when.to_pydatetime() for when in rows["when"]]
    right_so_far = [0, *accumulate(_is_right(rows))]
    starts = range(0, len(whens), window)
    ends = [min(start + window, len(whens)) for start in starts]
    return tuple(
        AccuracyWindow(
            first=whens[start],
            last=whens[end - 1],
            labels=end - start,
            right=right_so_far[end] - right_so_far[start],
            labels_so_far=end,
            right_so_far=right_so_far[end],
        )
        for start, end in zip(starts, ends, strict=True)
    )
