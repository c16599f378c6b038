"""Rows to learn from: those of the training, with the feedback in the place of what it corrects."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from sklearn.utils.class_weight import compute_sample_weight

from tasks.common.errors import DataError, ModelError
from tasks.common.files import published_file
from tasks.common.settings import get_settings
from tasks.dataset.splitting import digest_text, sample_rows
from tasks.learning.parent import Parent
from tasks.learning.regression import Weights
from tasks.learning.types import Feedback
from tasks.measures.calibration import LabelIds
from tasks.training.logged_rows import find_split, load_measured_digests

logger = logging.getLogger(__name__)

_FOLDS = 5
_NO_FOLD = -1

_FEEDBACK_COLUMNS = ["text", "label", "held_out"]
_ROW = ["text_digest", "label"]


@dataclass(frozen=True)
class LearningRows:
    """Rows to learn from and to judge by, in the order of the digests of their texts.

    Their columns are `text_digest`, `label` and `text`, which is missing for a row whose features
    alone are known.

    Attributes:
        train: Rows of the training that no feedback corrects, and the feedback; `is_feedback`
            says which.
        validation: Rows that the training was watched on.
        held_out: Rows of the feedback that are kept to measure by.
        left_out: Rows of the feedback that are measured on already: in the test or validation part.
        is_remembered: Whether the split of the training is gone, and these are what was kept.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    held_out: int
    left_out: int
    is_remembered: bool

    @property
    def feedback(self) -> pd.DataFrame:
        """The rows of the feedback that are learnt."""
        return self.train[self.train["is_feedback"]]

    def folds(self) -> LabelIds:
        """Return the fold of each row of `train`, by its text; -1 for rows of the training.

        These judge no fit: the features were trained to tell their labels, so that a head of any
        size has a low loss on them.
        """
        numbers = self.train["text_digest"].map(lambda digest: int(digest, 16) % _FOLDS)
        found: LabelIds = np.where(self.train["is_feedback"], numbers, _NO_FOLD)
        return found


def gather_rows(parent: Parent, feedback: Feedback) -> LearningRows:
    """Return the rows that the parent's head learns again, and the feedback.

    Raises:
        DataError: If the feedback has no row to learn from, or one that cannot be used.
        ModelError: If the rows of the training are gone from this machine.
    """
    given = read_feedback(feedback, parent.split.labels)
    measured = given["text_digest"].isin(load_measured_digests(parent.original_run_id))
    learnt = given[~given["held_out"] & ~measured]
    left_out = int((measured & ~given["held_out"]).sum())
    if learnt.empty:
        raise DataError(
            f"{feedback.rows}: none of {len(given)} rows can be learnt: {given['held_out'].sum()} "
            f"are held out, {left_out} are in the test or validation part of the training; "
            "expected other texts"
        )
    original, is_remembered = _original_rows(parent)
    kept = original[~original["text_digest"].isin(learnt["text_digest"])]
    train = pd.concat(
        [
            kept[kept["part"] == "train"].assign(is_feedback=False),
            learnt.assign(is_feedback=True),
        ],
        ignore_index=True,
    )
    return LearningRows(
        train=_in_order(train[[*_ROW, "text", "is_feedback"]]),
        validation=_in_order(original.loc[original["part"] == "validation", [*_ROW, "text"]]),
        held_out=int(given["held_out"].sum()),
        left_out=left_out,
        is_remembered=is_remembered,
    )


def read_feedback(feedback: Feedback, labels: Sequence[str]) -> pd.DataFrame:
    """Return the rows of feedback, with the digests of their texts.

    Args:
        feedback: The feedback.
        labels: Those of the model.

    Raises:
        DataError: If a column is missing, a label is none of the model's, or a text is there twice.
    """
    try:
        rows = pd.read_parquet(feedback.rows, columns=_FEEDBACK_COLUMNS)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{feedback.rows}: expected a Parquet file with {', '.join(_FEEDBACK_COLUMNS)} "
            f"({type(error).__name__})"
        ) from error
    if unknown := int((~rows["label"].isin(labels)).sum()):
        raise DataError(
            f"{feedback.rows}: {unknown} rows have a label that is none of the model's; expected "
            f"one of {list(labels)}"
        )
    rows["text_digest"] = rows["text"].map(digest_text)
    if repeated := int(rows["text_digest"].duplicated().sum()):
        raise DataError(
            f"{feedback.rows}: {repeated} rows have the text of an earlier one; expected each text "
            "once"
        )
    return rows


def remember_labels(parent: Parent) -> None:
    """Keep digests and labels of the rows of a training: with their features, they replace it.

    So learning goes on when the split is gone, as after the files of `data/` were freed. No text
    is kept.
    """
    original, is_remembered = _original_rows(parent)
    path = _labels_path(parent)
    if not is_remembered and not path.is_file():
        with published_file(path) as draft:
            original.drop(columns="text").to_parquet(draft, index=False)


def texts_of(rows: pd.DataFrame) -> dict[str, str]:
    """Return the texts of rows by their digests, without those whose texts are gone."""
    known = rows.dropna(subset="text")
    return dict(zip(known["text_digest"], known["text"], strict=True))


def label_ids(rows: pd.DataFrame, labels: Sequence[str]) -> LabelIds:
    """Return the ids of the labels of rows."""
    return np.array([labels.index(label) for label in rows["label"]], dtype=np.int64)


def row_weights(ids: LabelIds, *, balanced: bool) -> Weights:
    """Return what each row counts.

    Args:
        ids: The ids of their labels.
        balanced: Whether all labels count alike, though some have fewer rows.
    """
    weights: Weights = compute_sample_weight("balanced" if balanced else None, ids)
    return weights


def _original_rows(parent: Parent) -> tuple[pd.DataFrame, bool]:
    """Return the rows of the training, each text once for each label, and whether texts are gone.

    The columns are `part`, `text_digest`, `label` and `text`.
    """
    split = find_split(parent.original_run_id)
    if split is None:
        return _remembered_rows(parent), True
    size, seed = parent.parameters.sample_size, parent.parameters.seed
    parts = {
        "train": sample_rows(pd.read_parquet(split.part("train")), size, seed),
        "validation": pd.read_parquet(split.part("validation")),
    }
    rows = pd.concat(parts, names=["part"]).reset_index("part")
    rows["text_digest"] = rows["text"].map(digest_text)
    # Of texts that are written in several ways, the first in the order of the alphabet.
    rows["text"] = rows.groupby("text_digest")["text"].transform("min")
    return rows.drop_duplicates(["part", *_ROW])[["part", *_ROW, "text"]], False


def _remembered_rows(parent: Parent) -> pd.DataFrame:
    path = _labels_path(parent)
    try:
        return pd.read_parquet(path).assign(text=None)
    except (pa.ArrowException, OSError) as error:
        raise ModelError(
            f"{parent.uri}: the rows that it was trained on are gone from this machine "
            f"({parent.split.folder}), and {path} has nothing of them ({type(error).__name__}); "
            "expected the split, or features that were kept of it: train again"
        ) from error


def _labels_path(parent: Parent) -> Path:
    return get_settings().replay / "labels" / f"{parent.original_run_id}.parquet"


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    # The sums of a fit depend on the order of its rows, in their last digits.
    return rows.sort_values(_ROW, ignore_index=True)
