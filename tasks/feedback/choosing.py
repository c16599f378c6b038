"""Choose which labels of the store count: one for each text, and not too many by one person."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from tasks.dataset.labels import label_key
from tasks.feedback.store import FeedbackStore, digest_store, join_batches
from tasks.feedback.types import Conflicts, FeedbackChoices, LeftOut

_KEPT = ""

_COLUMNS = [
    *("text", "text_digest", "label", "when", "by", "batch"),
    *("model_uri", "answered_label", "answered_score", "member"),
]
_LEFT_OUT_COLUMNS = ["text_digest", "label", "when", "by", "batch", "source", "source_row"]


class FeedbackRows(NamedTuple):
    """The labels of a store.

    Attributes:
        rows: Those that count, the oldest first, each text once: `text`, `text_digest`, `label`,
            `when`, `by`, `batch`, `model_uri`, `answered_label`, `answered_score`, `member`, and
            `held_out`: whether the text is in the half that is never learnt, but measures.
        left_out: The others, by `source` and `source_row`, with the reason: a field of `LeftOut`.
        counts: Their numbers by reason.
        digest: Digest of the store.
    """

    rows: pd.DataFrame
    left_out: pd.DataFrame
    counts: LeftOut
    digest: str


def load_feedback(folder: Path, choices: FeedbackChoices) -> FeedbackRows:
    """Return the labels of a store that count; which these are does not depend on their order.

    Args:
        folder: The store; it need not exist.
        choices: Which of them count.

    Raises:
        DataError: If a batch is damaged.
    """
    batches = FeedbackStore(folder).read()
    return choose_rows(join_batches(batches).to_pandas(), choices, digest_store(batches))


def choose_rows(stored: pd.DataFrame, choices: FeedbackChoices, digest: str) -> FeedbackRows:
    """Return which rows count.

    Args:
        stored: All rows, with `batch`.
        choices: Which of them count.
        digest: Of the store.
    """
    # A text may have one label of one person at one time, so that nothing is left to chance.
    stored = stored.sort_values(["text_digest", "when", "by", "label"], ignore_index=True)
    reasons = pd.Series(_reasons(stored, choices.conflicts), index=stored.index, dtype=str)
    reasons[_capped(stored[reasons == _KEPT], choices.max_share_by)] = "capped"
    kept = stored.loc[reasons == _KEPT, _COLUMNS]
    kept = kept.sort_values(["when", "text_digest"], ignore_index=True)
    kept["held_out"] = kept["text_digest"].map(is_held_out).astype(bool)
    left_out = stored.loc[reasons != _KEPT, _LEFT_OUT_COLUMNS]
    left_out = left_out.assign(reason=reasons[reasons != _KEPT]).reset_index(drop=True)
    return FeedbackRows(kept, left_out, LeftOut(**Counter(left_out["reason"])), digest)


def is_held_out(text_digest: str) -> bool:
    """Return whether a text measures what is learnt, and is never learnt itself: half of them."""
    return _place("held out", text_digest) < "8"


def _reasons(stored: pd.DataFrame, conflicts: Conflicts) -> list[str]:
    """Return why each row is left out, texts after each other; empty if it is kept."""
    labels = map(label_key, stored["label"])
    said = zip(stored["text_digest"], stored["when"], labels, strict=True)
    return [
        reason
        for _, rows in groupby(said, key=lambda row: row[0])
        for reason in _reasons_of_text([(when, label) for _, when, label in rows], conflicts)
    ]


def _reasons_of_text(rows: Sequence[tuple[datetime, str]], conflicts: Conflicts) -> Iterator[str]:
    """Yield why each row of a text is left out: of its times and labels, the oldest first."""
    last = rows[-1][0]
    newest = {label for when, label in rows if when == last}
    is_conflict = len({label for _, label in rows}) > 1
    if len(newest) > 1 or (is_conflict and conflicts == "set_aside"):
        yield from ["set_aside"] * len(rows)
        return
    (label,) = newest
    # The one that was news: since then nobody has said anything else.
    overruled = [number for number, row in enumerate(rows) if row[1] != label]
    news = overruled[-1] + 1 if overruled else 0
    for number, (_, other) in enumerate(rows):
        if other != label:
            yield "overruled"
        else:
            yield _KEPT if number == news else "duplicates"


def _capped(kept: pd.DataFrame, max_share: float) -> pd.Index:
    """Return the rows that are too many by one person."""
    named = kept[kept["by"] != ""]
    most = largest_count(dict(Counter(named["by"])), len(kept) - len(named), max_share)
    places = named["text_digest"].map(lambda digest: _place("capped", digest)).sort_values()
    return places.index[named.loc[places.index].groupby("by").cumcount() >= most]


def _place(purpose: str, text_digest: str) -> str:
    """Return the place of a text in an order that is as if by chance, of each purpose another."""
    return hashlib.sha256(f"{purpose}\n{text_digest}".encode()).hexdigest()


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
