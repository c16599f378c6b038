"""How well a fine-tuned model does on its test part."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

import mlflow
import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    roc_auc_score,
    roc_curve,
)
from tqdm import tqdm

from pyfunc.classifier import Classifier
from tasks.common.counting import score_histogram
from tasks.tracking.mlflow_client import connect
from tasks.training import evaluation_plots
from tasks.training.finetuned_model import classifier_folder, load_classifier
from tasks.training.logged_rows import test_rows
from tasks.training.types import (
    CONFUSION_FILE,
    DISTRIBUTION_FILE,
    ROC_FILE,
    Distribution,
    FineTuned,
)

logger = logging.getLogger(__name__)

Probabilities = npt.NDArray[np.float64]
LabelIds = npt.NDArray[np.int64]

_ROWS_A_TICK = 128
_CALIBRATION_BINS = 15
_CURVE_POINTS = 200  # at most; a picture has no more


def evaluate(fine_tuned: FineTuned) -> dict[str, float]:
    """Measure a model on the test rows that its run holds; log figures and pictures there.

    A model that was measured before is not measured again.

    Returns:
        `test_accuracy`, `test_f1` (macro), `test_roc_auc` (one against the rest, averaged)
        and `test_calibration_error`.
    """
    client = connect()
    known = client.get_run(fine_tuned.run_id).data.metrics
    if fine_tuned.reused and "test_accuracy" in known:
        return {name: value for name, value in known.items() if name.startswith("test_")}
    rows = test_rows(fine_tuned.run_id)
    with classifier_folder(fine_tuned.model_uri) as folder:
        classifier = load_classifier(folder)
    probabilities = _probabilities(classifier, rows["text"].tolist())
    truth = np.array([classifier.labels.index(label) for label in rows["label"]])
    metrics = measure(truth, probabilities)
    confusion = _confusion(truth, probabilities, classifier.labels)
    curves = _roc(truth, probabilities, classifier.labels)
    documents = {
        CONFUSION_FILE: confusion.to_dict(orient="split"),
        DISTRIBUTION_FILE: _distribution(truth, probabilities, classifier.labels).model_dump(),
        ROC_FILE: curves,
    }
    for path, document in documents.items():
        client.log_dict(fine_tuned.run_id, document, path)
    _log_pictures(fine_tuned.run_id, confusion, curves)
    # Last: they tell that the evaluation is whole.
    with mlflow.start_run(run_id=fine_tuned.run_id):
        mlflow.log_metrics(metrics, model_id=fine_tuned.model_uri.removeprefix("models:/"))
    logger.info("test rows: %d, %s", len(rows), metrics)
    return metrics


def measure(truth: LabelIds, probabilities: Probabilities) -> dict[str, float]:
    """Return the test figures.

    Args:
        truth: Ids of the right labels, of shape (rows,).
        probabilities: Softmax outputs, of shape (rows, labels).
    """
    predicted = probabilities.argmax(axis=1)
    return {
        "test_accuracy": float(accuracy_score(truth, predicted)),
        "test_f1": float(f1_score(truth, predicted, average="macro", zero_division=0.0)),
        "test_roc_auc": _roc_auc(truth, probabilities),
        "test_calibration_error": calibration_error(truth, probabilities),
    }


def calibration_error(
    truth: LabelIds, probabilities: Probabilities, bins: int = _CALIBRATION_BINS
) -> float:
    """Return the expected calibration error with bins of equal width.

    The mean gap between confidence and accuracy, weighted by the rows in each bin (Guo et
    al. 2017, "On Calibration of Modern Neural Networks", section 2).
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(right[which == number].mean() - confidence[which == number].mean())
        * (which == number).mean()
        for number in np.unique(which)
    ]
    return float(sum(gaps))


def _roc_auc(truth: LabelIds, probabilities: Probabilities) -> float:
    """Average over the labels that some test rows have and others do not."""
    areas = [
        roc_auc_score(truth == label, probabilities[:, label])
        for label in range(probabilities.shape[1])
        if 0 < (truth == label).sum() < len(truth)
    ]
    return float(np.mean(areas)) if areas else float("nan")


def _probabilities(classifier: Classifier, texts: list[str]) -> Probabilities:
    rows: list[list[float]] = []
    with tqdm(total=len(texts), desc="evaluate", unit="rows", disable=None) as bar:
        for start in range(0, len(texts), _ROWS_A_TICK):
            rows += classifier.probabilities(texts[start : start + _ROWS_A_TICK]).tolist()
            bar.update(len(rows) - bar.n)
    return np.array(rows)


def _confusion(
    truth: LabelIds, probabilities: Probabilities, labels: Sequence[str]
) -> pd.DataFrame:
    counts = confusion_matrix(truth, probabilities.argmax(axis=1), labels=range(len(labels)))
    return pd.DataFrame(counts, index=list(labels), columns=list(labels))


def _distribution(
    truth: LabelIds, probabilities: Probabilities, labels: Sequence[str]
) -> Distribution:
    return Distribution(
        labels=_by_name(probabilities.argmax(axis=1), labels),
        true_labels=_by_name(truth, labels),
        scores=score_histogram(probabilities.max(axis=1).tolist()),
    )


def _by_name(ids: LabelIds, labels: Sequence[str]) -> dict[str, int]:
    return {labels[number]: count for number, count in Counter(ids.tolist()).most_common()}


def _roc(
    truth: LabelIds, probabilities: Probabilities, labels: Sequence[str]
) -> dict[str, evaluation_plots.Curve]:
    """Return the points of a curve for each label that some test rows have and others do not."""
    curves: dict[str, evaluation_plots.Curve] = {}
    for number, label in enumerate(labels):
        if 0 < (truth == number).sum() < len(truth):
            wrong, right, _ = roc_curve(truth == number, probabilities[:, number])
            kept = np.unique(np.linspace(0, len(wrong) - 1, _CURVE_POINTS).astype(int))
            curves[label] = (wrong[kept].tolist(), right[kept].tolist())
    return curves


def _log_pictures(
    run_id: str, confusion: pd.DataFrame, curves: Mapping[str, evaluation_plots.Curve]
) -> None:
    client = connect()
    history = {
        name: [(point.step, point.value) for point in client.get_metric_history(run_id, name)]
        for name in ("train_loss", "validation_loss")
    }
    pictures = {
        "confusion_matrix": evaluation_plots.confusion_matrix(confusion),
        "roc_curve": evaluation_plots.roc_curves(curves),
        "loss_curve": evaluation_plots.loss_curve(history),
    }
    for name, picture in pictures.items():
        client.log_figure(run_id, picture, f"evaluation/{name}.png")
