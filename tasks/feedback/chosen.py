"""Write the labels that count, for those who learn them and for those who judge what was learnt."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from tasks.common.settings import get_settings
from tasks.dataset.types import Split
from tasks.feedback.choosing import load_feedback
from tasks.feedback.types import ChosenFeedback, FeedbackChoices, MemberFeedback
from tasks.tracking import registry
from tasks.tracking.ancestry import finetuned_uri_of, root_of
from tasks.tracking.mlflow_client import read_logged_json
from tasks.tracking.names import SINGLE_MEMBER, RegisteredModel
from tasks.training.logged_rows import SPLIT_FILE


def write_chosen(
    choices: FeedbackChoices, members: Mapping[str, RegisteredModel], folder: Path
) -> ChosenFeedback:
    """Write the labels of the store that count.

    A row is learnt by the member that decided it: that which has the version that answered then, or
    one that descends from it, else that of the same name. Rows that no member of today decided are
    learnt by none, nor those with a label that the member does not know; where there is a single
    member, it learns all. What is held out measures in any case.

    Args:
        choices: Which labels count.
        members: The fine-tuned versions of the members that decide, by their names.
        folder: What gets the files.

    Raises:
        DataError: If a batch of the store is damaged.
    """
    found = load_feedback(get_settings().feedback_store, choices)
    rows = found.rows
    rows = rows.assign(member=_members_of_rows(rows, members))
    known = _are_known(rows, members)
    held_out = folder / "held-out.parquet"
    batches = rows["batch"].map(lambda name: "-".join(name.split("-")[:2]))
    rows[["text", "label"]].assign(batch=batches)[rows["held_out"]].to_parquet(held_out)
    learnt = {
        str(name): _write_member(part, folder)
        for name, part in rows[known].groupby("member")
        if name in members and not part["held_out"].all()
    }
    learnable = ~rows["held_out"]
    return ChosenFeedback(
        labels=len(rows),
        held_out=int(rows["held_out"].sum()),
        undecided=int((learnable & ~rows["member"].isin(members)).sum()),
        unknown_to_member=int((learnable & ~known).sum()),
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


def _members_of_rows(rows: pd.DataFrame, members: Mapping[str, RegisteredModel]) -> pd.Series:
    """Return the name of the member of today that each row teaches; empty for none."""
    if set(members) == {SINGLE_MEMBER}:
        return pd.Series(SINGLE_MEMBER, index=rows.index)
    roots = {name: root_of(member.uri) for name, member in members.items()}
    answered = rows[["model_uri", "member"]].drop_duplicates().itertuples(index=False, name=None)
    found = {(uri, name): _member_of_today(uri, name, roots) for uri, name in answered}
    keys = zip(rows["model_uri"], rows["member"], strict=True)
    return pd.Series([found[key] for key in keys], index=rows.index, dtype=object)


def _member_of_today(pipeline_uri: str, member: str, roots: Mapping[str, str]) -> str:
    """Return the member that descends from what answered; else that of its name, or none."""
    uri = finetuned_uri_of(pipeline_uri, member)
    related = [name for name, root in roots.items() if uri and root == root_of(uri)]
    # Several may have the same version, with other settings.
    if related and member not in related:
        return related[0]
    return member if member in roots else ""


def _are_known(rows: pd.DataFrame, members: Mapping[str, RegisteredModel]) -> pd.Series:
    """Return whether the member that each row teaches knows its label."""
    if len(members) == 1:  # others were refused when they came
        return pd.Series(True, index=rows.index)
    labels = {name: _labels_of(member) for name, member in members.items()}
    known = [
        not labels.get(name) or label in labels[name]
        for name, label in zip(rows["member"], rows["label"], strict=True)
    ]
    return pd.Series(known, index=rows.index, dtype=bool)


def _labels_of(member: RegisteredModel) -> Sequence[str]:
    """Return the labels of a member; none of a training of before, which learning refuses."""
    run_id = str(registry.get_version(member.name, member.version).run_id)
    record = read_logged_json(run_id, SPLIT_FILE)
    return Split.model_validate(record).labels if record else ()


def _write_member(rows: pd.DataFrame, folder: Path) -> MemberFeedback:
    said = sorted(zip(rows["text_digest"], rows["label"], strict=True))
    digest = hashlib.sha256(json.dumps(said).encode()).hexdigest()
    path = folder / f"{digest}.parquet"
    rows[["text", "label", "held_out"]].to_parquet(path, index=False)
    return MemberFeedback(rows=path, digest=digest, labels=int((~rows["held_out"]).sum()))
