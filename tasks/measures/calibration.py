"""Calibration: does a score of 0.9 mean right in nine of ten rows? Measured, and corrected.

Temperature scaling and the expected calibration error are those of Guo et al. 2017, "On
Calibration of Modern Neural Networks".
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

Logits = npt.NDArray[np.float64]
Probabilities = npt.NDArray[np.float64]
LabelIds = npt.NDArray[np.int64]

_BINS = 15
_LOWEST, _HIGHEST = 0.01, 100.0


class Bin(NamedTuple):
    """Rows whose scores are alike.

    Attributes:
        confidence: Mean of their scores.
        accuracy: Share of them whose label is right.
        rows: Their number.
    """

    confidence: float
    accuracy: float
    rows: int


def fit_temperature(logits: Logits, truth: LabelIds) -> float:
    """Return the number by which to divide logits so that the scores fit these rows best.

    It has the lowest cross-entropy. Of rows that are all right no temperature would be low enough,
    so that the target of their labels is a little less than 1, as if one more row were wrong.

    Args:
        logits: Of rows that the model was not trained on, of shape (rows, labels).
        truth: Ids of the true labels, of shape (rows,).

    Returns:
        A number from 0.01 to 100; 1 if a logit is no number.
    """
    if not np.isfinite(logits).all():
        return 1.0
    rows, labels = logits.shape
    all_right = bool((logits.argmax(axis=1) == truth).all())
    wrong = 1 / (rows + 2) if all_right else 0.0
    targets = np.full((rows, labels), wrong / max(1, labels - 1))
    targets[np.arange(rows), truth] = 1 - wrong

    def cross_entropy(exponent: float) -> float:
        return -float((targets * log_softmax(logits / np.exp(exponent), axis=1)).sum())

    bounds = (np.log(_LOWEST), np.log(_HIGHEST))
    found = minimize_scalar(cross_entropy, bounds=bounds, method="bounded")
    return float(np.exp(found.x))


def scores_at(logits: Logits, temperature: float) -> Probabilities:
    """Return the softmax over the labels of logits divided by `temperature`."""
    scores: Probabilities = softmax(logits / temperature, axis=1)
    return scores


def reliability(truth: LabelIds, probabilities: Probabilities, bins: int = _BINS) -> list[Bin]:
    """Return the rows in bins of equal width by their score, without the empty ones.

    Args:
        truth: Ids of the true labels, of shape (rows,).
        probabilities: Softmax outputs, of shape (rows, labels).
        bins: Their number between 0 and 1.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == truth
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        Bin(float(confidence[chosen].mean()), float(correct[chosen].mean()), int(chosen.sum()))
        for chosen in (bin_of == number for number in np.unique(bin_of))
    ]


def calibration_error(bins: list[Bin]) -> float:
    """Return the mean gap between confidence and accuracy, weighted by rows; NaN without a row."""
    rows = sum(found.rows for found in bins) or math.nan
    return sum(abs(found.accuracy - found.confidence) * found.rows for found in bins) / rows
