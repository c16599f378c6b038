"""Running accuracy of each version: every label first tests the answer that was given before it.

The method is the prequential one of A. P. Dawid, "Present position and potential developments:
some personal views. Statistical theory: the prequential approach", Journal of the Royal Statistical
Society A 147, 1984, 278-292.
"""

from itertools import accumulate
from typing import NamedTuple

import pandas as pd

from tasks.common.errors import ModelError
from tasks.dataset.labels import label_key
from tasks.feedback.types import AccuracyWindow
from tasks.tracking import registry
from tasks.tracking.names import RegisteredModel
from tasks.tracking.pipeline_members import origins_of
from tasks.training.logged_rows import load_used_digests

WINDOW = 50  # labels


class TestLabels(NamedTuple):
    """Labels that test the answers before them.

    Attributes:
        rows: They.
        known: How many others there are: of texts that the version which answered them was trained
            or validated on.
        unchecked: Versions whose labels are all in `rows`, as it is not known which texts they were
            trained on: they are gone, or a training of before logged not all texts.
    """

    rows: pd.DataFrame
    known: int
    unchecked: tuple[str, ...]


def select_tests(rows: pd.DataFrame) -> TestLabels:
    """Leave out labels of texts that the version which answered them had learnt.

    Args:
        rows: Labels with the answers before them, as for `prequential`.
    """
    used = {str(uri): _used_digests(str(uri)) for uri in sorted(rows["model_uri"].unique())}
    pairs = zip(rows["model_uri"], rows["text_digest"], strict=True)
    is_known = pd.Series(
        [digest in (used[uri] or ()) for uri, digest in pairs], index=rows.index, dtype=bool
    )
    unchecked = tuple(uri for uri, digests in used.items() if digests is None)
    return TestLabels(rows[~is_known], int(is_known.sum()), unchecked)


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


def _used_digests(model_uri: str) -> frozenset[str] | None:
    """Return the digests of the texts that a version learnt; None if that is not known."""
    named = RegisteredModel.from_uri(model_uri)
    try:
        version = registry.get_version(named.name, named.version)
    except ModelError:
        return None
    return load_used_digests(origin.training_run_id for origin in origins_of(version).values())


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
