"""Train a static classifier, from labels or from the probabilities of another version."""

import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import numpy as np
import pandas as pd

from pyfunc.classifier import read_labels
from tasks.common.errors import ModelError
from tasks.dataset.splitting import UNLABELLED, sample_rows, warn_of_undrawn_labels
from tasks.dataset.types import Split
from tasks.measures.calibration import LabelIds, Probabilities, fit_temperature, scores_at
from tasks.static_model import flavour
from tasks.static_model.fitting import FeatureReader, Fitted, Targets, fit, write_unfitted
from tasks.static_model.tokenizer import copy_tokenizer, train_tokenizer
from tasks.tracking.names import FINETUNED_MODEL, version_uri
from tasks.tracking.registry import find_version
from tasks.tracking.runs import killed_if_interrupted
from tasks.training.finetuned_model import downloaded_classifier, max_tokens_of, temperature_of
from tasks.training.mlflow_run import SIGNATURE, log_training_inputs, open_run
from tasks.training.reference import open_reference, predict_logits
from tasks.training.types import STATIC, TEMPERATURE, FineTuned, FineTuneParameters

# Raised with every change of how it is fitted: equal trainings are found by it.
_REVISION = 1


def with_found_teacher(parameters: FineTuneParameters) -> FineTuneParameters:
    """Return the parameters with the URI of the teacher's version, whatever it was called.

    Raises:
        ParameterError: If there is no such version, or the reference names another model.
    """
    if not parameters.teacher:
        return parameters
    version = find_version(FINETUNED_MODEL, parameters.teacher, parameter="teacher")
    uri = version_uri(FINETUNED_MODEL, int(version.version))
    return parameters.model_copy(update={"teacher": uri})


def static_digest(parameters: FineTuneParameters) -> str:
    """Return what the weights depend on besides data and parameters: the fit, and the teacher."""
    return f"{STATIC} {_REVISION} {parameters.teacher}"


def train_static(
    split: Split, parameters: FineTuneParameters, key: str, checkpoints: Path
) -> FineTuned:
    """Fit a static classifier on the train part, and log everything to one MLflow run.

    Args:
        split: The labelled rows.
        parameters: All that shapes the result.
        key: Digest of the above, by which equal trainings are found.
        checkpoints: Folder of the id of the run, which a killed training goes on with.

    Raises:
        ModelError: If the teacher is gone or has other labels, or the rows have a single label.
    """
    rows = sample_rows(
        pd.read_parquet(split.part("train")), parameters.sample_size, parameters.seed
    )
    warn_of_undrawn_labels(rows, split)
    validation = pd.read_parquet(split.part("validation"))
    with ExitStack() as stack:
        # First: a teacher that does not fit leaves no run.
        teacher = _open_teacher(parameters.teacher, split.labels, stack)
        run = stack.enter_context(killed_if_interrupted(open_run(checkpoints, key, parameters)))
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="millstream-")))
        examples = _Examples(rows, _unlabelled(split, parameters), validation, split.labels)
        log_training_inputs(
            split, parameters, rows, family=STATIC, bf16=False, unlabelled=examples.unlabelled
        )
        started = time.perf_counter()
        fitted = _fit(folder, examples, parameters, teacher)
        _log_outcome(fitted, examples, time.perf_counter() - started)
        info = flavour.log_model(folder, "model", signature=SIGNATURE)
        model_uri = f"models:/{info.model_id}"
        mlflow.set_tag("model_uri", model_uri)
    shutil.rmtree(checkpoints)
    return FineTuned(run_id=run.info.run_id, model_uri=model_uri)


@dataclass(frozen=True)
class _Teacher:
    """A fine-tuned model that a static one learns from: its files, and the run of its training."""

    folder: Path
    run_id: str

    def shares(self, texts: Sequence[str], labels: Sequence[str]) -> Probabilities:
        """Return its probability of each label, of shape (texts, labels)."""
        model = open_reference(self.folder, max_tokens=max_tokens_of(self.folder))
        logits = predict_logits(model, texts, "teacher")
        scores = scores_at(logits, temperature_of(self.run_id))
        return scores[:, [model.labels.index(label) for label in labels]]


@dataclass(frozen=True)
class _Examples:
    """Rows to learn from and to choose by, and the labels in the order of their ids."""

    train: pd.DataFrame
    unlabelled: Sequence[str]
    validation: pd.DataFrame
    labels: Sequence[str]

    def ids(self, rows: pd.DataFrame) -> LabelIds:
        """Return the ids of the labels of rows."""
        return np.array([self.labels.index(label) for label in rows["label"]], dtype=np.int64)


def _open_teacher(uri: str, labels: Sequence[str], stack: ExitStack) -> _Teacher | None:
    """Return the teacher, if there is one, whose files are there until `stack` is closed."""
    if not uri:
        return None
    run_id = str(find_version(FINETUNED_MODEL, uri, parameter="teacher").run_id)
    folder = stack.enter_context(downloaded_classifier(uri))
    if (found := sorted(read_labels(folder))) != sorted(labels):
        raise ModelError(
            f"teacher: {uri} has the labels {found}; expected those of the data, {sorted(labels)}"
        )
    return _Teacher(folder, run_id)


def _unlabelled(split: Split, parameters: FineTuneParameters) -> list[str]:
    """Return a sample of the texts without a label, of which a teacher alone knows anything."""
    if not (parameters.teacher and split.unlabelled):
        return []
    rows = pd.read_parquet(split.part(UNLABELLED))
    texts: list[str] = sample_rows(rows, parameters.sample_size, parameters.seed)["text"].tolist()
    return texts


def _fit(
    folder: Path, examples: _Examples, parameters: FineTuneParameters, teacher: _Teacher | None
) -> Fitted:
    """Fit a model and write it into an empty folder, with its tokenizer.

    A teacher knows the rows that it was trained on: of rotten_tomatoes, a model of its
    probabilities alone has 0.770 on unseen rows, one of the labels alone 0.788, one of both 0.796.
    """
    texts, labels, limit = examples.train["text"].tolist(), examples.labels, parameters.max_tokens
    shares = np.eye(len(labels))[examples.ids(examples.train)]
    if teacher is None:
        train_tokenizer(texts, folder, max_tokens=limit, labels=len(labels))
    else:
        copy_tokenizer(teacher.folder, folder, max_tokens=limit)
        taught = teacher.shares([*texts, *examples.unlabelled], labels)
        known = (shares + taught[: len(texts)]) / 2
        shares = np.concatenate([known, taught[len(texts) :]])
        texts += examples.unlabelled
    unfitted = write_unfitted(folder, labels)
    fitted = fit(
        unfitted,
        FeatureReader(folder, unfitted, max_tokens=limit),
        Targets(texts, shares),
        (examples.validation["text"].tolist(), examples.ids(examples.validation)),
        balanced=parameters.class_weights == "auto",
    )
    fitted.model.write(folder)
    return fitted


def _log_outcome(fitted: Fitted, examples: _Examples, seconds: float) -> None:
    truth = examples.ids(examples.validation)
    mlflow.log_metrics(
        {
            TEMPERATURE: fit_temperature(fitted.logits, truth),
            "best_validation_loss": fitted.loss,
            "inverse_regularisation": fitted.strength,
            "train_seconds": seconds,
            "unlabelled_rows": len(examples.unlabelled),
            "train_rows_per_second": (len(examples.train) + len(examples.unlabelled)) / seconds,
        }
    )
