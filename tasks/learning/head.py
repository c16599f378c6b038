"""The head of a fine-tuned model: its rows of features, and its weights fitted anew to them."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.sparse import csr_array, hstack, issparse
from threadpoolctl import threadpool_limits

from tasks.learning.parent import Parent
from tasks.learning.regression import Examples, Matrix, NearFit, Weights, choose_strength
from tasks.learning.rows import LearningRows, label_ids, row_weights
from tasks.measures.calibration import LabelIds, Logits


class Head(Protocol):
    """The last layer of a model, and what it reads of the rows to learn from.

    Attributes:
        weights: The parent's, of shape (features, labels); a bias is one more row, the last.
        has_bias: Whether there is one.
        train: The features of the rows to learn from, of shape (rows, features).
        validation: Those of the rows to judge by.
        metrics: What was counted and measured of them, by its name in MLflow.
    """

    weights: Weights
    has_bias: bool
    train: Matrix
    validation: Matrix
    metrics: dict[str, float]

    def log(self, weights: Weights, parent: Parent) -> str:
        """Log the parent's model with other weights of its head to the active run.

        Args:
            weights: Of the shape of `weights`.
            parent: The version.

        Returns:
            The logged model, as `models:/m-…`.
        """


@dataclass(frozen=True)
class Refitted:
    """A head that was fitted anew.

    Attributes:
        weights: Of shape (features, labels); a bias is one more row, the last.
        strength: That of the penalty for leaving the parent's weights.
        truth: The ids of the labels of the validation rows.
        logits: Of these rows, of shape (rows, labels).
        logits_before: The parent's.
    """

    weights: Weights
    strength: float
    truth: LabelIds
    logits: Logits
    logits_before: Logits


def refit(head: Head, rows: LearningRows, parent: Parent) -> Refitted:
    """Fit the weights of a head to all rows, near those of the parent.

    The bias is drawn to the parent's like any weight: were it free, feedback that corrects one
    label alone would move every answer towards that label at no cost.

    Args:
        head: The head.
        rows: Rows to learn from and to judge by.
        parent: The version that has the head.
    """
    labels, balanced = parent.split.labels, parent.parameters.class_weights == "auto"
    scale = _scale(head)
    train, unseen = (
        Examples(_scaled(matrix, head, scale), ids, row_weights(ids, balanced=balanced))
        for matrix, ids in (
            (head.train, label_ids(rows.train, labels)),
            (head.validation, label_ids(rows.validation, labels)),
        )
    )
    # A feature that counts less by the scale has a weight that counts more.
    sizes = np.full((len(head.weights), 1), scale)
    if head.has_bias:
        sizes[-1] = 1.0
    start = head.weights / sizes
    # On one thread: the last digits of a product depend on how many share it, and the products are
    # so small that several take longer.
    with threadpool_limits(1, "blas"):
        strength = choose_strength(train, start, rows.folds(), unseen)
        found = NearFit(train, start).minimum(strength)
    return Refitted(
        weights=found * sizes,
        strength=strength,
        truth=unseen.labels,
        logits=unseen.features @ found,
        logits_before=unseen.features @ start,
    )


def _scale(head: Head) -> float:
    """Return what makes the mean square of the rows 1, as that of the bias is.

    Else the strengths would mean something else for each model, and the solver would be slow.
    """
    values = head.train.data if issparse(head.train) else head.train
    mean_square = float(np.square(values).sum()) / max(1, head.train.shape[0])
    return 1 / float(np.sqrt(max(mean_square, 1e-12)))


def _scaled(matrix: Matrix, head: Head, scale: float) -> Matrix:
    scaled = matrix * scale
    if not head.has_bias:
        return scaled
    ones = np.ones((matrix.shape[0], 1))
    if issparse(scaled):
        return csr_array(hstack([scaled, csr_array(ones)]))
    return np.hstack([scaled, ones])
