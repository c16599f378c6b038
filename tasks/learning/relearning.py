"""Learn the head of a version again, with feedback, and log the result as a training."""

import hashlib
import json
import shutil
import time
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.pandas_dataset import from_pandas

from pyfunc.static.model import is_static
from tasks.common.files import waited_lock
from tasks.common.settings import get_settings
from tasks.learning.head import Head, Refitted, refit
from tasks.learning.parent import Parent, read_parent
from tasks.learning.rows import LearningRows, gather_rows
from tasks.learning.static_head import StaticHead
from tasks.learning.transformer_head import TransformerHead
from tasks.learning.types import Feedback
from tasks.measures.calibration import Logits, fit_temperature
from tasks.tracking.mlflow_client import package_versions
from tasks.tracking.names import (
    FEEDBACK_ROWS_TAG,
    FEEDBACK_TAG,
    LEARNING_TAG,
    ORIGINAL_RUN_TAG,
    PARENT_TAG,
    SERIES_TAG,
    RegisteredModel,
)
from tasks.tracking.runs import killed_if_interrupted
from tasks.training.finetuned_model import downloaded_classifier
from tasks.training.logged_rows import log_rows_again
from tasks.training.mlflow_run import find_equal_training, open_run
from tasks.training.types import BASELINE, TEMPERATURE, FineTuned

# Raised with every change of how a head is fitted: equal learnings are found by it.
_REVISION = 1


def relearn_or_reuse(version: RegisteredModel, feedback: Feedback) -> FineTuned:
    """Return the model of an earlier equal learning, or learn the head of a version again.

    The head is fitted to the rows of the training and all of the feedback, near the version's own.
    An equal learning that runs at the same time is waited for, and its model taken.

    Args:
        version: The parent, of `dl_finetuned_model`.
        feedback: All that is to be learnt, not only what is new.

    Raises:
        DataError: If the feedback has no row to learn from, or one that cannot be used.
        ModelError: If the version is gone, or does not end with a linear layer, or neither the rows
            of its training nor their features are on this machine.
    """
    parent = read_parent(version)
    parts = ["head", _REVISION, parent.model_uri, feedback.digest]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    checkpoints = get_settings().checkpoints / key[:16]
    checkpoints.parent.mkdir(parents=True, exist_ok=True)
    with waited_lock(checkpoints.with_suffix(".lock"), "the end of an equal learning"):
        return find_equal_training(key) or _relearn(parent, feedback, key, checkpoints)


def _relearn(parent: Parent, feedback: Feedback, key: str, checkpoints: Path) -> FineTuned:
    started = time.perf_counter()
    rows = gather_rows(parent, feedback)
    with downloaded_classifier(parent.model_uri) as folder:
        # First: a model that cannot learn so leaves no run.
        head = _open_head(folder, parent, rows)
        with killed_if_interrupted(open_run(checkpoints, key, parent.parameters)) as run:
            _log_inputs(parent, feedback, rows)
            fitting = time.perf_counter()
            refitted = refit(head, rows, parent)
            seconds = {"fit_seconds": time.perf_counter() - fitting}
            model_uri = head.log(refitted.weights, parent)
            seconds["train_seconds"] = time.perf_counter() - started
            _log_outcome(head, refitted, rows, seconds)
            mlflow.set_tag("model_uri", model_uri)
    shutil.rmtree(checkpoints)
    return FineTuned(run_id=run.info.run_id, model_uri=model_uri)


def _open_head(folder: Path, parent: Parent, rows: LearningRows) -> Head:
    kind = StaticHead if is_static(folder) else TransformerHead
    return kind(folder, parent, rows)


def _log_inputs(parent: Parent, feedback: Feedback, rows: LearningRows) -> None:
    """Log what a training logs: its parameters and data are those of the parent's."""
    mlflow.log_params(parent.run.data.params)
    inherited = {
        name: parent.run.data.tags[name]
        for name in (SERIES_TAG, "data_digest")
        if name in parent.run.data.tags
    }
    mlflow.set_tags(
        inherited
        | {
            LEARNING_TAG: "head",
            PARENT_TAG: parent.uri,
            ORIGINAL_RUN_TAG: parent.original_run_id,
            FEEDBACK_TAG: feedback.digest,
            FEEDBACK_ROWS_TAG: len(rows.feedback),
        }
    )
    mlflow.log_input(_data_set(parent, rows.train), context="training")
    log_rows_again(parent.run.info.run_id, rows.feedback["text"])
    mlflow.log_dict(package_versions("scipy"), "packages.json")
    # Of the same test rows.
    if (baseline := parent.run.data.metrics.get(BASELINE)) is not None:
        mlflow.log_metric(BASELINE, baseline)


def _data_set(parent: Parent, train: pd.DataFrame) -> mlflow.data.dataset.Dataset:
    split = parent.split
    source = CodeDatasetSource({"source": split.source, "split": str(split.folder)})
    labelled = train[["text_digest", "label"]]
    return from_pandas(
        labelled, source=source, targets="label", name="train", digest=split.digest[:36]
    )


def _log_outcome(
    head: Head, refitted: Refitted, rows: LearningRows, seconds: dict[str, float]
) -> None:
    before, after = (
        _accuracy(logits, refitted) for logits in (refitted.logits_before, refitted.logits)
    )
    mlflow.log_metrics(
        {
            TEMPERATURE: fit_temperature(refitted.logits, refitted.truth),
            "penalty": refitted.strength,
            "validation_accuracy_before": before,
            "validation_accuracy": after,
            "learnt_rows": len(rows.train),
            "learnt_feedback_rows": len(rows.feedback),
            "held_out_feedback_rows": rows.held_out,
            "measured_feedback_rows": rows.left_out,
            "train_rows_per_second": len(rows.train) / seconds["train_seconds"],
            **head.metrics,
            **seconds,
        }
    )


def _accuracy(logits: Logits, refitted: Refitted) -> float:
    return float((logits.argmax(axis=1) == refitted.truth).mean())
