"""Rows to learn from: feedback wins over the training, and what is measured on is left out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.common.errors import DataError, ModelError
from tasks.dataset.splitting import digest_text
from tasks.learning.parent import Parent, read_parent
from tasks.learning.rows import gather_rows, remember_labels, row_weights
from tasks.learning.types import Feedback
from tasks.tracking.mlflow_client import connect
from tasks.training.logged_rows import SPLIT_FILE, find_split, load_used_digests
from tests.support.builders import Trained, finetuned_of


def feedback_of(folder: Path, rows: list[tuple[str, str]], *, held_out: int = 0) -> Feedback:
    table = pd.DataFrame(rows, columns=["text", "label"])
    table["held_out"] = [row < held_out for row in range(len(rows))]
    path = folder / "feedback.parquet"
    table.to_parquet(path, index=False)
    return Feedback(rows=path, digest="0" * 64)


def part_of(parent: Parent, name: str) -> pd.DataFrame:
    return pd.read_parquet(parent.split.part(name))


@pytest.fixture
def parent(trained: Trained) -> Parent:
    return read_parent(finetuned_of(trained))


@pytest.fixture
def parent_to_lose(trained_anew: Trained) -> Parent:
    """One whose split may go: what its run logged names the one of this test."""
    version = finetuned_of(trained_anew)
    found = read_parent(version)
    moved = found.split.model_copy(update={"folder": Path(trained_anew.training["split_folder"])})
    connect().log_dict(found.run.info.run_id, moved.model_dump(mode="json"), SPLIT_FILE)
    return read_parent(version)


def test_rows_of_the_training_are_joined_by_the_feedback(parent: Parent, tmp_path: Path) -> None:
    given = [("a new film", "negative"), ("another new film", "positive")]
    rows = gather_rows(parent, feedback_of(tmp_path, given))
    train = part_of(parent, "train")
    assert len(rows.train) == len(train) + 2
    assert set(rows.train["text"]) == {*train["text"], *(text for text, _ in given)}
    assert sorted(rows.feedback["text"]) == sorted(text for text, _ in given)
    assert set(rows.validation["text"]) == set(part_of(parent, "validation")["text"])
    assert rows.train["text_digest"].is_monotonic_increasing
    used = load_used_digests([parent.run.info.run_id]) or frozenset()
    assert {*rows.train["text_digest"], *rows.validation["text_digest"]} - used == {
        digest_text(text) for text, _ in given
    }


def test_a_correction_wins_over_the_row_of_the_training(parent: Parent, tmp_path: Path) -> None:
    text, label = part_of(parent, "train").iloc[0]
    other = {"positive": "negative", "negative": "positive"}[label]
    rows = gather_rows(parent, feedback_of(tmp_path, [(f" {text.upper()}", other)]))
    found = rows.train[rows.train["text_digest"] == digest_text(text)]
    assert found["label"].tolist() == [other]
    assert len(rows.train) == len(part_of(parent, "train"))


def test_texts_that_the_training_is_measured_on_are_left_out(
    parent: Parent, tmp_path: Path
) -> None:
    measured = [
        (part_of(parent, part)["text"].iloc[0].upper(), "positive")
        for part in ("test", "validation")
    ]
    given = [("held out", "positive"), *measured, ("new", "positive")]
    rows = gather_rows(parent, feedback_of(tmp_path, given, held_out=1))
    assert rows.feedback["text"].tolist() == ["new"]
    assert (rows.left_out, rows.held_out) == (2, 1)
    message = r"none of 3 rows can be learnt: 1 are held out, 2 are in the test or validation part"
    with pytest.raises(DataError, match=message):
        gather_rows(parent, feedback_of(tmp_path, given[:-1], held_out=1))


def test_rows_that_cannot_be_used_are_refused_in_one_line(parent: Parent, tmp_path: Path) -> None:
    message = r"feedback.parquet: 1 rows have a label that is none of the model's; .*'negative'"
    with pytest.raises(DataError, match=message):
        gather_rows(parent, feedback_of(tmp_path, [("a", "neutral")]))
    with pytest.raises(DataError, match=r"1 rows have the text of an earlier one; expected each"):
        gather_rows(
            parent, feedback_of(tmp_path, [("a film", "positive"), ("A  film", "negative")])
        )
    for content in (b"no table", b""):
        (tmp_path / "feedback.parquet").write_bytes(content)
        with pytest.raises(DataError, match=r"feedback.parquet: expected a Parquet file with text"):
            gather_rows(parent, Feedback(rows=tmp_path / "feedback.parquet", digest=""))


def test_folds_are_those_of_the_texts_of_feedback(parent: Parent, tmp_path: Path) -> None:
    given = [(f"new {row}", "positive") for row in range(30)]
    rows = gather_rows(parent, feedback_of(tmp_path, given))
    folds = dict(zip(rows.train["text"], rows.folds(), strict=True))
    assert {folds[text] for text, _ in given} == {0, 1, 2, 3, 4}
    assert {folds[text] for text in part_of(parent, "train")["text"]} == {-1}
    fewer = gather_rows(parent, feedback_of(tmp_path, given[:9:-1]))
    assert {folds[text] for text in fewer.feedback["text"]} == {0, 1, 2, 3, 4}
    assert all(
        folds[text] == fold for text, fold in zip(fewer.train["text"], fewer.folds(), strict=True)
    )


def test_without_the_split_what_was_kept_of_it_replaces_it(
    parent_to_lose: Parent, tmp_path: Path
) -> None:
    parent, feedback = parent_to_lose, feedback_of(tmp_path, [("a new film", "negative")])
    before = gather_rows(parent, feedback)
    remember_labels(parent)
    assert find_split(parent.run.info.run_id) == parent.split
    parent.split.part("train").unlink()
    after = gather_rows(parent, feedback)
    assert after.is_remembered
    assert after.train["text"].dropna().tolist() == ["a new film"]
    for part in ("train", "validation"):
        pd.testing.assert_frame_equal(
            getattr(after, part).drop(columns="text"), getattr(before, part).drop(columns="text")
        )


def test_without_the_split_and_what_was_kept_of_it_one_line_says_what_to_do(
    parent_to_lose: Parent, tmp_path: Path
) -> None:
    parent, feedback = parent_to_lose, feedback_of(tmp_path, [("a new film", "negative")])
    parent.split.part("train").unlink()
    message = (
        r"^models:/dl_finetuned_model/1: the rows .* are gone from this machine .*: train again$"
    )
    with pytest.raises(ModelError, match=message):
        gather_rows(parent, feedback)


def test_a_version_that_no_training_logged_is_refused(trained_anew: Trained) -> None:
    version = finetuned_of(trained_anew)
    source = str(connect().get_model_version(version.name, str(version.version)).source)
    other = connect().create_model_version(version.name, source, run_id="0" * 32).version
    with pytest.raises(ModelError, match=rf"^models:/dl_finetuned_model/{other}: its training run"):
        read_parent(version.model_copy(update={"version": int(other)}))


def test_balanced_rows_count_alike_by_label() -> None:
    ids = np.array([0, 0, 0, 1])
    assert row_weights(ids, balanced=True) == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2])
    assert row_weights(ids, balanced=False).tolist() == [1, 1, 1, 1]
