"""What each member of a pipeline learns, and what is held out."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from tasks.dataset.splitting import digest_text
from tasks.feedback.choosing import is_held_out
from tasks.feedback.chosen import write_chosen, write_labels
from tasks.feedback.collecting import AnsweringModel
from tasks.feedback.types import FeedbackChoices, GivenAnswer
from tests.tasks.feedback.steps import LABELS, take

TEXTS = [f"{'great' if n % 3 else 'short'} film {n}" for n in range(60)]


def answer(texts: Sequence[str]) -> list[GivenAnswer | None]:
    """Answer as a composed version, of which a member decides by the first word."""
    return [GivenAnswer("positive", 0.9, "models:/p/2", text.split()[0]) for text in texts]


@pytest.fixture
def taken(home: Path, tmp_path: Path) -> None:
    """Feedback on the answers of a composed version."""
    file = tmp_path / "feedback.csv"
    rows = pd.DataFrame({"text": TEXTS, "label": ["negative", "positive"] * 30})
    rows.to_csv(file, index=False)
    assert take(AnsweringModel(LABELS, answer), feedback=(str(file),)).taken == 60


@pytest.mark.usefixtures("taken")
def test_a_member_learns_what_it_decided(tmp_path: Path) -> None:
    found = write_chosen(FeedbackChoices(), ("great", "other"), tmp_path)
    assert found.labels == 60
    (learnt,) = found.members.values()
    assert set(found.members) == {"great"}
    rows = pd.read_parquet(learnt.rows)
    assert set(rows["text"]) == {text for text in TEXTS if text.startswith("great")}
    assert learnt.labels == int((~rows["held_out"]).sum()) > 0
    held_out = pd.read_parquet(found.held_out_rows)
    assert set(held_out["text"]) == {text for text in TEXTS if is_held_out(digest_text(text))}
    assert found.held_out == len(held_out)
    assert found.held_out + learnt.labels + found.undecided == 60
    assert set(held_out["batch"]) == {"batch-00001"}
    again = write_chosen(FeedbackChoices(), ("great", "other"), tmp_path)
    assert again.members["great"].digest == learnt.digest


@pytest.mark.usefixtures("taken")
def test_a_single_model_learns_all(tmp_path: Path) -> None:
    found = write_chosen(FeedbackChoices(), ("model",), tmp_path)
    assert found.undecided == 0
    assert len(pd.read_parquet(found.members["model"].rows)) == 60
    labels = pd.read_parquet(write_labels(tmp_path))
    assert dict(zip(labels["text_digest"], labels["label"], strict=True)) == {
        digest_text(text): ["negative", "positive"][n % 2] for n, text in enumerate(TEXTS)
    }


def test_without_feedback_nobody_learns(home: Path, tmp_path: Path) -> None:
    found = write_chosen(FeedbackChoices(), ("model",), tmp_path)
    assert (found.labels, found.members) == (0, {})
    assert pd.read_parquet(write_labels(tmp_path)).empty
