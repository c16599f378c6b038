"""Fit multinomial logistic regression near given weights, and choose how near by folds of rows."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.special import log_softmax

from tasks.measures.calibration import LabelIds, Logits

logger = logging.getLogger(__name__)

# Strengths of the penalty, from the strongest: each fit goes on from the one before. They are for
# rows whose mean square is 1.
STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)

_MOST_ITERATIONS = 500
_GRADIENT = 1e-6  # the loss is flat where no part of its gradient is larger
_UNFINISHED = 1e-3  # a larger one is worth a warning

Weights = npt.NDArray[np.float64]
Matrix: TypeAlias = npt.NDArray[np.float64] | csr_array  # of shape (rows, features)


@dataclass(frozen=True)
class Examples:
    """Rows with their labels.

    Attributes:
        features: Of shape (rows, features); dense, or sparse.
        labels: Ids of the labels, of shape (rows,).
        weights: What each row counts in the loss, of shape (rows,).
    """

    features: Matrix
    labels: LabelIds
    weights: Weights

    def __len__(self) -> int:
        return len(self.labels)

    def chosen(self, rows: npt.NDArray[np.bool_]) -> "Examples":
        """Return some of the rows, in their order."""
        return Examples(self.features[rows], self.labels[rows], self.weights[rows])

    def loss(self, weights: Weights) -> float:
        """Return the sum of the rows' cross-entropies, each times its weight.

        Args:
            weights: Of shape (features, labels).
        """
        found = log_softmax(self.features @ weights, axis=1)
        return -float(self.weights @ found[np.arange(len(self)), self.labels])


class NearFit:
    """The regression of some rows: the loss, its gradient, and its minimum.

    The loss is the mean cross-entropy of the rows and half the strength times the squared distance
    from the parent's weights. scikit-learn has no penalty towards other weights than 0.
    """

    def __init__(self, examples: Examples, parent: Weights) -> None:
        """Prepare the fit.

        Args:
            examples: The rows.
            parent: Weights of shape (features, labels). Labels without a row keep theirs.
        """
        self._features = examples.features
        self._parent = parent
        self._learnt = np.unique(examples.labels)
        self._logits: Logits = examples.features @ parent
        self._rows = np.arange(len(examples)), examples.labels
        self._shares = examples.weights / examples.weights.sum()
        self._change = np.zeros((parent.shape[0], len(self._learnt)))

    def loss_and_gradient(self, change: Weights, strength: float) -> tuple[float, Weights]:
        """Return the loss and its gradient.

        Args:
            change: How the weights of the labels that have rows differ from the parent's: of shape
                (features · labels,), the labels of a feature side by side.
            strength: That of the penalty.
        """
        change = change.reshape(self._change.shape)
        logits = self._logits.copy()
        logits[:, self._learnt] += self._features @ change
        found = log_softmax(logits, axis=1)
        errors = np.exp(found)
        errors[self._rows] -= 1
        errors *= self._shares[:, None]
        loss = -float(self._shares @ found[self._rows]) + strength / 2 * float((change**2).sum())
        gradient = (errors[:, self._learnt].T @ self._features).T + strength * change
        return loss, gradient.ravel()

    def minimum(self, strength: float) -> Weights:
        """Return the weights of the lowest loss; the next call starts from them.

        Args:
            strength: That of the penalty.
        """
        found = minimize(
            self.loss_and_gradient,
            self._change.ravel(),
            args=(strength,),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _MOST_ITERATIONS, "gtol": _GRADIENT, "ftol": 0},
        )
        if (steepest := float(np.abs(found.jac).max())) > _UNFINISHED:
            logger.warning(
                "the head is not fitted to the end: a gradient of %.1e at strength %g after %d "
                "iterations; expected %.0e at most",
                *(steepest, strength, found.nit, _UNFINISHED),
            )
        self._change = found.x.reshape(self._change.shape)
        weights = self._parent.copy()
        weights[:, self._learnt] += self._change
        return weights


def choose_strength(
    examples: Examples, parent: Weights, folds: LabelIds, unseen: Examples
) -> float:
    """Return the strength whose fits have the lowest loss on rows that they did not learn from.

    Args:
        examples: The rows to learn from.
        parent: Weights of shape (features, labels).
        folds: The fold of each row; those below 0 are learned from in each fit, and judge none.
        unseen: More rows that judge each fit.
    """
    numbers: Sequence[int] = np.unique(folds[folds >= 0]).tolist()
    losses = np.zeros(len(STRENGTHS))
    for number in numbers:
        held = folds == number
        fit, judges = NearFit(examples.chosen(~held), parent), examples.chosen(held)
        for place, strength in enumerate(STRENGTHS):
            weights = fit.minimum(strength)
            losses[place] += judges.loss(weights) + unseen.loss(weights) / len(numbers)
    logger.debug("loss by strength: %s", dict(zip(STRENGTHS, losses.tolist(), strict=True)))
    return STRENGTHS[int(losses.argmin())]  # the first of equals: the strongest
