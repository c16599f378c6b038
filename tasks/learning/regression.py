"""Fit multinomial logistic regression near given weights, and choose how near by folds of rows."""

import logging
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.sparse import csr_array, issparse
from scipy.special import log_softmax

from tasks.measures.calibration import LabelIds, Logits, fit_temperature
from tasks.measures.paired import MARGIN

logger = logging.getLogger(__name__)

# Strengths of the penalty, from the strongest: each fit goes on from the one before. They are for
# rows whose mean square is 1.
STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)

_MOST_ITERATIONS = 1_000
_GRADIENT = 1e-5  # the loss is flat where no part of its gradient is larger
_UNFINISHED = 1e-3  # a larger one is worth a warning
_HOPELESS = 1.01  # times the lowest loss: weaker penalties have a still higher one
_CURVATURE = 0.25  # of the cross-entropy by a logit, at most

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

    def accuracy(self, weights: Weights) -> float:
        """Return the share of the rows that get their label; 1 without rows.

        Args:
            weights: Of shape (features, labels).
        """
        if not len(self):
            return 1.0
        return float(((self.features @ weights).argmax(axis=1) == self.labels).mean())

    def loss(self, weights: Weights, temperature: float = 1.0) -> float:
        """Return the sum of the rows' cross-entropies, each times its weight.

        Args:
            weights: Of shape (features, labels).
            temperature: What the logits are divided by.
        """
        found = log_softmax(self.features @ weights / temperature, axis=1)
        return -float(self.weights @ found[np.arange(len(self)), self.labels])


class NearFit:
    """The regression of some rows: the loss, its gradient, and its minimum.

    The loss is the mean cross-entropy of the rows and half the strength times the squared distance
    from the parent's weights. scikit-learn has no penalty towards other weights than 0.

    The solver counts the change of the weights in steps that bend the loss alike. Features of a
    fine-tuned model differ in size by a factor of thousands: in their own units a weak penalty
    takes hundreds of iterations. The minimum is the same.
    """

    def __init__(self, examples: Examples, parent: Weights) -> None:
        """Prepare the fit.

        Args:
            examples: The rows.
            parent: Weights of shape (features, labels). Labels without a row keep theirs.
        """
        self._parent = parent
        self._learnt = np.unique(examples.labels)
        self._logits: Logits = examples.features @ parent
        self._rows = np.arange(len(examples)), examples.labels
        self._shares = examples.weights / examples.weights.sum()
        self._axes, self._features, self._squares = _principal_axes(examples.features, self._shares)
        # Along these axes.
        self._change = np.zeros((parent.shape[0], len(self._learnt)))

    def loss_and_gradient(self, steps: Weights, strength: float) -> tuple[float, Weights]:
        """Return the loss and its gradient.

        Args:
            steps: The change of the weights, in steps of the solver, of shape (features · labels,);
                the labels are those that have rows, side by side for each feature.
            strength: That of the penalty.
        """
        size = self._step_sizes(strength)
        change = steps.reshape(self._change.shape) * size
        logits = self._logits.copy()
        logits[:, self._learnt] += self._features @ change
        found = log_softmax(logits, axis=1)
        errors = np.exp(found)
        errors[self._rows] -= 1
        errors *= self._shares[:, None]
        loss = -float(self._shares @ found[self._rows]) + strength / 2 * float((change**2).sum())
        gradient = (errors[:, self._learnt].T @ self._features).T + strength * change
        return loss, (gradient * size).ravel()

    def minimum(self, strength: float) -> Weights:
        """Return the weights of the lowest loss; the next call starts from them.

        Args:
            strength: That of the penalty.
        """
        size = self._step_sizes(strength)
        found = minimize(
            self.loss_and_gradient,
            (self._change / size).ravel(),
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
        self._change = found.x.reshape(self._change.shape) * size
        weights = self._parent.copy()
        weights[:, self._learnt] += (
            self._change if self._axes is None else self._axes @ self._change
        )
        return weights

    def _step_sizes(self, strength: float) -> Weights:
        return 1 / np.sqrt(self._squares[:, None] * _CURVATURE + strength)


def _principal_axes(features: Matrix, shares: Weights) -> tuple[Weights | None, Matrix, Weights]:
    """Return the axes along which rows differ most, the rows along them, and their mean squares.

    Sparse rows keep their own axes.
    """
    if issparse(features):
        return None, features, np.asarray(csr_array(features).power(2).T @ shares)
    squares, axes = np.linalg.eigh((features.T * shares) @ features)
    return axes, features @ axes, squares.clip(0)


def choose_strength(
    examples: Examples, parent: Weights, folds: LabelIds, unseen: Examples
) -> float:
    """Return the strength whose fits have the lowest loss on rows that they did not learn from.

    It is the mean of the folds and that of `unseen` together, however many rows these have, at the
    temperature that suits `unseen`: the model gets one of its own, and a head that is only too sure
    of itself is none the worse. Strengths do not count whose fits lose more than `MARGIN` of the
    parent's accuracy on `unseen`: their model would not become champion. If all do, it is the
    strongest.

    Args:
        examples: The rows to learn from.
        parent: Weights of shape (features, labels).
        folds: The fold of each row; those below 0 are learned from in each fit, and judge none.
        unseen: More rows that judge each fit: old ones, whose answers are to be kept.
    """
    held = [folds == number for number in np.unique(folds[folds >= 0])]
    fits = [(NearFit(examples.chosen(~rows), parent), examples.chosen(rows)) for rows in held]
    least, judged = unseen.accuracy(parent) - MARGIN, sum(len(rows) for _, rows in fits)
    losses: dict[float, float] = {}
    kept = [STRENGTHS[0]]
    for strength in STRENGTHS:
        found = [(fit.minimum(strength), judges) for fit, judges in fits]
        losses[strength] = 0.0
        for weights, judges in found:
            logits = unseen.features @ weights
            temperature = fit_temperature(logits, unseen.labels) if len(unseen) else 1.0
            losses[strength] += judges.loss(weights, temperature) / judged
            losses[strength] += unseen.loss(weights, temperature) / max(1, len(unseen)) / len(fits)
        if np.mean([unseen.accuracy(weights) for weights, _ in found]) >= least:
            kept.append(strength)
        if losses[strength] > _HOPELESS * min(losses.values()):
            break
    logger.debug("loss by strength: %s; kept: %s", losses, kept)
    return min(kept, key=losses.__getitem__)  # the first of equals: the strongest
