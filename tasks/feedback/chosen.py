"""Write the labels that count, for those who learn them and for those who judge what was learnt."""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from tasks.common.settings import get_settings
from tasks.feedback.choosing import load_feedback
from tasks.feedback.types import ChosenFeedback, FeedbackChoices, MemberFeedback
from tasks.tracking.names import SINGLE_MEMBER


def write_chosen(
    choices: FeedbackChoices, members: Collection[str], folder: Path
) -> ChosenFeedback:
    """Write the labels of the store that count.

    A row is learnt by the member that decided it. Rows that no member of today decided are learnt
    by none; where there is a single one, it learns all.

    Args:
        choices: Which labels count.
        members: The names of the members of the pipeline.
        folder: What gets the files.

    Raises:
        DataError: If a batch of the store is damaged.
    """
    found = load_feedback(get_settings().feedback_store, choices)
    rows = found.rows
    if set(members) == {SINGLE_MEMBER}:
        rows = rows.assign(member=SINGLE_MEMBER)
    held_out = folder / "held-out.parquet"
    batches = rows["batch"].map(lambda name: "-".join(name.split("-")[:2]))
    rows[["text", "label"]].assign(batch=batches)[rows["held_out"]].to_parquet(held_out)
    learnt = {
        str(name): _write_member(part, folder)
        for name, part in rows.groupby("member")
        if name in members and not part["held_out"].all()
    }
    return ChosenFeedback(
        labels=len(rows),
        held_out=int(rows["held_out"].sum()),
        undecided=int((~rows["held_out"] & ~rows["member"].isin(members)).sum()),
        left_out=found.counts,
        held_out_rows=held_out,
        members=learnt,
    )


def write_labels(folder: Path) -> Path:
    """Write the labels of the store that count, by the digests of their texts.

    Raises:
        DataError: If a batch of the store is damaged.
    """
    found = load_feedback(get_settings().feedback_store, FeedbackChoices())
    path = folder / "labels.parquet"
    found.rows[["text_digest", "label"]].to_parquet(path, index=False)
    return path


def _write_member(rows: pd.DataFrame, folder: Path) -> MemberFeedback:
    said = sorted(zip(rows["text_digest"], rows["label"], strict=True))
    digest = hashlib.sha256(json.dumps(said).encode()).hexdigest()
    path = folder / f"{digest}.parquet"
    rows[["text", "label", "held_out"]].to_parquet(path, index=False)
    return MemberFeedback(rows=path, digest=digest, labels=int((~rows["held_out"]).sum()))
