"""Evaluate a fine-tuned model on test rows: accuracy, F1, ROC AUC, calibration, plots."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from mlflow.entities import Run
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, roc_auc_score, roc_curve

from pyfunc.pipeline import refusal_reason
from tasks.common.counting import score_histogram
from tasks.measures import evaluation_plots
from tasks.measures.advice import advise, outcome_of
from tasks.measures.calibration import (
    Bin,
    LabelIds,
    Probabilities,
    calibration_error,
    reliability,
    scores_at,
)
from tasks.measures.evaluation_plots import draw_png
from tasks.tracking.mlflow_client import connect, missing_file_reason, read_logged_json
from tasks.training.finetuned_model import downloaded_classifier, max_tokens_of, temperature_of
from tasks.training.logged_rows import load_test_rows
from tasks.training.reference import open_reference, predict_logits
from tasks.training.types import (
    ADVICE_FILE,
    BASELINE,
    CONFUSION_FILE,
    DISTRIBUTION_FILE,
    RELIABILITY_FILE,
    ROC_FILE,
    Distribution,
    Evaluation,
    FineTuned,
)

logger = logging.getLogger(__name__)

_ERROR_BEFORE = "test_calibration_error_before"

_MAX_CURVE_POINTS = 200  # more would not show in a plot

_NO_LABEL = -1
_NO_ROWS: LabelIds = np.empty(0, dtype=np.int64)


def measure_model(fine_tuned: FineTuned) -> Evaluation:
    """Evaluate a model on the test rows of its run, once; log metrics and plots there.

    A text that the pipeline refuses, as the rows of an earlier training may have, counts as a wrong
    answer and is in no plot.

    Returns:
        `test_accuracy`, `test_f1` (macro), `test_roc_auc` (one against the rest, averaged),
        `test_calibration_error`, the same before the temperature, `test_refused` if there are such
        texts, and `test_baseline_accuracy` if the training measured it; why plots are missing; and
        what to try next.
    """
    client = connect()
    run = client.get_run(fine_tuned.run_id)
    known = {name: value for name, value in run.data.metrics.items() if name.startswith("test_")}
    if fine_tuned.reused and "test_accuracy" in known:
        advice = read_logged_json(fine_tuned.run_id, ADVICE_FILE) or ()
        return Evaluation(metrics=known, advice=tuple(advice))
    rows = load_test_rows(fine_tuned.run_id)
    with downloaded_classifier(fine_tuned.model_uri) as folder:
        model = open_reference(folder, max_tokens=max_tokens_of(folder))
    labels = np.array([model.labels.index(label) for label in rows["label"]], dtype=np.int64)
    answered = (rows["text"].map(refusal_reason) == "").to_numpy()
    truth, refused = labels[answered], labels[~answered]
    if len(refused):
        logger.warning(
            "run %s: %d of the test rows are refused by the pipeline, and count as wrong",
            *(fine_tuned.run_id, len(refused)),
        )
    logits = predict_logits(model, rows["text"][answered].tolist())
    probabilities = scores_at(logits, temperature_of(fine_tuned.run_id))
    bins = {
        "before": reliability(truth, scores_at(logits, 1.0)),
        "after": reliability(truth, probabilities),
    }
    metrics = classification_metrics(truth, probabilities, refused) | {
        _ERROR_BEFORE: calibration_error(bins["before"])
    }
    confusion = _confusion_counts(truth, probabilities, model.labels)
    curves = _roc_curves(truth, probabilities, model.labels)
    documents = {
        CONFUSION_FILE: confusion.to_dict(orient="split"),
        DISTRIBUTION_FILE: _distribution(truth, probabilities, model.labels).model_dump(),
        RELIABILITY_FILE: bins,
        ROC_FILE: curves,
    }
    for path, document in documents.items():
        client.log_dict(fine_tuned.run_id, document, path)
    advice = _advise(run, metrics, confusion)
    client.log_text(fine_tuned.run_id, json.dumps(advice), ADVICE_FILE)
    missing = _log_plots(fine_tuned.run_id, confusion, curves, bins)
    if reason := run.data.tags.get(f"missing_{BASELINE}"):
        missing[BASELINE] = reason
    # Last: a run with metrics has a complete evaluation.
    with mlflow.start_run(run_id=fine_tuned.run_id):
        mlflow.log_metrics(metrics, model_id=fine_tuned.model_uri.removeprefix("models:/"))
    shown = (
        f"{name.removeprefix('test_').replace('_', ' ')} {value:.4f}"
        for name, value in metrics.items()
        if name != _ERROR_BEFORE
    )
    logger.info("%d test rows: %s", len(rows), ", ".join(shown))
    for line in advice:
        logger.warning("%s", line)
    return Evaluation(metrics=known | metrics, missing=missing, advice=advice)


def _advise(run: Run, metrics: dict[str, float], confusion: pd.DataFrame) -> tuple[str, ...]:
    losses = _history(run.info.run_id, "validation_loss")
    weighted = run.data.params.get("class_weights", "none") != "none"
    return advise(outcome_of(run.data.metrics | metrics, losses, confusion, weighted=weighted))


def _history(run_id: str, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in connect().get_metric_history(run_id, name)]


def classification_metrics(
    truth: LabelIds, probabilities: Probabilities, refused: LabelIds = _NO_ROWS
) -> dict[str, float]:
    """Return accuracy, macro F1, ROC AUC and calibration error, by their names in MLflow.

    Args:
        truth: Ids of the true labels, of shape (rows,).
        probabilities: Softmax outputs, of shape (rows, labels).
        refused: Ids of the true labels of rows that get no answer. They are wrong for accuracy and
            F1; ROC AUC and calibration error are those of the other rows.
    """
    predicted = np.append(probabilities.argmax(axis=1), np.full(len(refused), _NO_LABEL))
    expected = np.append(truth, refused)
    labels = np.setdiff1d([*expected, *predicted], _NO_LABEL)
    f1 = f1_score(expected, predicted, labels=labels, average="macro", zero_division=0.0)
    return {
        "test_accuracy": float(accuracy_score(expected, predicted)),
        "test_f1": float(f1),
        "test_roc_auc": _roc_auc(truth, probabilities),
        "test_calibration_error": calibration_error(reliability(truth, probabilities)),
    } | ({"test_refused": float(len(refused))} if len(refused) else {})


def _roc_auc(truth: LabelIds, probabilities: Probabilities) -> float:
    areas = [
        roc_auc_score(truth == label, probabilities[:, label])
        for label in _labels_with_roc(truth, probabilities)
    ]
    return float(np.mean(areas)) if areas else float("nan")


def _labels_with_roc(truth: LabelIds, probabilities: Probabilities) -> list[int]:
    """Return the labels that some test rows have and others do not; others have no ROC curve."""
    labels = range(probabilities.shape[1])
    return [label for label in labels if 0 < (truth == label).sum() < len(truth)]


def _confusion_counts(
    truth: LabelIds, probabilities: Probabilities, labels: Sequence[str]
) -> pd.DataFrame:
    counts = confusion_matrix(truth, probabilities.argmax(axis=1), labels=range(len(labels)))
    return pd.DataFrame(counts, index=list(labels), columns=list(labels))


def _distribution(
    truth: LabelIds, probabilities: Probabilities, labels: Sequence[str]
) -> Distribution:
    return Distribution(
        labels=_count_labels(probabilities.argmax(axis=1), labels),
        true_labels=_count_labels(truth, labels),
        scores=score_histogram(probabilities.max(axis=1).tolist()),
    )


def _count_labels(ids: LabelIds, labels: Sequence[str]) -> dict[str, int]:
    return {labels[number]: count for number, count in Counter(ids.tolist()).most_common()}


def _roc_curves(
    truth: LabelIds, probabilities: Probabilities, labels: Sequence[str]
) -> dict[str, evaluation_plots.Curve]:
    curves: dict[str, evaluation_plots.Curve] = {}
    for label in _labels_with_roc(truth, probabilities):
        fpr, tpr, _ = roc_curve(truth == label, probabilities[:, label])
        kept = np.unique(np.linspace(0, len(fpr) - 1, _MAX_CURVE_POINTS).astype(int))
        curves[labels[label]] = (fpr[kept].tolist(), tpr[kept].tolist())
    return curves


def _log_plots(
    run_id: str,
    confusion: pd.DataFrame,
    curves: Mapping[str, evaluation_plots.Curve],
    bins: Mapping[str, Sequence[Bin]],
) -> dict[str, str]:
    """Log the plots, and return those that could not be made with the reason."""
    client = connect()
    history = {name: _history(run_id, name) for name in ("train_loss", "validation_loss")}
    plots: dict[str, tuple[Callable[[Any], Figure], Any]] = {
        "confusion_matrix": (evaluation_plots.plot_confusion_matrix, confusion),
        "roc_curve": (evaluation_plots.plot_roc_curves, curves),
        "reliability": (evaluation_plots.plot_reliability, bins),
    }
    if any(history.values()):  # a static model has no steps
        plots["loss_curve"] = evaluation_plots.plot_loss_curve, history
    missing = {}
    with TemporaryDirectory(prefix="millstream-") as folder:
        for name, (plot, data) in plots.items():
            path = Path(folder) / f"{name}.png"
            try:
                path.write_bytes(draw_png(plot, data))
                client.log_artifact(run_id, str(path), "evaluation")
            except Exception as error:  # noqa: BLE001 -- no picture may cost the model
                missing[f"evaluation/{path.name}"] = missing_file_reason(error)
                logger.warning("evaluation/%s: %s", path.name, missing_file_reason(error))
    return missing
