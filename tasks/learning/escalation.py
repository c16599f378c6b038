"""Train all weights of a version on, with the rows of its training and the feedback."""

import hashlib
import json
import shutil
from contextlib import nullcontext

import pandas as pd

from tasks.common.errors import ModelError
from tasks.common.files import published_folder
from tasks.common.settings import get_settings
from tasks.dataset.splitting import UNLABELLED, describe_rows, digest_rows
from tasks.dataset.types import RECORD, Split
from tasks.learning.parent import Parent, read_parent
from tasks.learning.rows import LearningRows, gather_rows
from tasks.learning.types import Feedback
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import (
    FEEDBACK_ROWS_TAG,
    FEEDBACK_TAG,
    LEARNING_TAG,
    PARENT_TAG,
    RegisteredModel,
)
from tasks.training.fine_tuning import fine_tune_or_reuse
from tasks.training.finetuned_model import downloaded_classifier
from tasks.training.logged_rows import find_split
from tasks.training.types import STATIC, FineTuned


def train_on_or_reuse(version: RegisteredModel, feedback: Feedback) -> FineTuned:
    """Return the model of an earlier equal training, or train all weights of a version on.

    The rows are those of its training, with the feedback in the place of what it corrects. A static
    model, which is fitted in seconds, is fitted anew.

    Args:
        version: The parent, of `dl_finetuned_model`.
        feedback: All that is to be learnt, not only what is new.

    Raises:
        DataError: If the feedback has no row to learn from, or one that cannot be used.
        ModelError: If the version is gone, or the rows of its training are not on this machine.
    """
    parent = read_parent(version)
    rows = gather_rows(parent, feedback)
    found = find_split(parent.original_run_id)
    if found is None:
        raise ModelError(
            f"{parent.uri}: the rows that it was trained on are gone from this machine "
            f"({parent.split.folder}); expected the split: train again"
        )
    split = write_joined_split(found, rows)
    # Its rows are drawn.
    parameters = parent.parameters.model_copy(update={"sample_size": 0})
    is_static = parameters.base_model == STATIC
    with nullcontext() if is_static else downloaded_classifier(parent.model_uri) as folder:
        learnt = fine_tune_or_reuse(split, parameters, reuse=True, base=folder)
    _tag_run(learnt, parent, feedback, rows)
    return learnt


def write_joined_split(split: Split, rows: LearningRows) -> Split:
    """Return a split whose train part is the rows to learn from, and whose other parts are equal.

    Args:
        split: The one of the training.
        rows: The rows, with their texts.
    """
    train = rows.train[["text", "label"]]
    measured = [pd.read_parquet(split.part(name)) for name in ("validation", "test")]
    digest = digest_rows(train)
    key = hashlib.sha256(json.dumps([split.folder.name, digest]).encode()).hexdigest()[:16]
    joined = split.model_copy(
        update={
            "folder": get_settings().data / "splits" / key,
            "digest": digest,
            "rows": split.rows | {"train": len(train)},
            "distributions": describe_rows(pd.concat([train, *measured], ignore_index=True)),
            "report": None,
        }
    )
    if (joined.folder / RECORD).is_file():
        return joined
    kept = ("validation", "test", *([UNLABELLED] if split.unlabelled else []))
    with published_folder(joined.folder) as draft:
        train.to_parquet(draft / "train.parquet", index=False)
        for name in kept:
            shutil.copyfile(split.part(name), draft / split.part(name).name)
        (draft / RECORD).write_text(joined.model_dump_json(indent=2), encoding="utf-8")
    return joined


def _tag_run(learnt: FineTuned, parent: Parent, feedback: Feedback, rows: LearningRows) -> None:
    tags = {
        LEARNING_TAG: "all weights",
        PARENT_TAG: parent.uri,
        FEEDBACK_TAG: feedback.digest,
        FEEDBACK_ROWS_TAG: len(rows.feedback),
    }
    for name, value in tags.items():
        connect().set_tag(learnt.run_id, name, value)
