"""Fit a static classifier: logistic regression on the means of token and pair features."""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, diags_array
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from pyfunc.static.features import find_features
from pyfunc.static.model import StaticModel
from pyfunc.tokens import Encoder
from tasks.common.errors import ModelError
from tasks.measures.calibration import LabelIds, Logits, Probabilities
from tasks.static_model.tokenizer import feature_space

logger = logging.getLogger(__name__)

# Inverse strengths of the regularisation, from the strongest: each fit goes on from the one before,
# and they end with the first that is worse on the validation rows.
_STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0)
_TOLERANCE = 1e-5
_MOST_ITERATIONS = 500

_TEXTS_AT_ONCE = 512
_LEAST_TARGET = 1e-3  # a smaller share of a label is left out
_NEVER = np.float32(-30.0)  # the logit of a label that no row has

Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Targets:
    """Texts, and what a model is to answer for them.

    Attributes:
        texts: The texts.
        shares: The probability of each label, of shape (texts, labels).
    """

    texts: Sequence[str]
    shares: Probabilities


@dataclass(frozen=True)
class Fitted:
    """A static classifier with what was measured of it.

    Attributes:
        model: The classifier.
        logits: Of the validation rows, of shape (rows, labels).
        loss: Their mean cross-entropy.
        strength: The inverse strength of the regularisation that has the lowest loss.
    """

    model: StaticModel
    logits: Logits
    loss: float
    strength: float


def write_unfitted(folder: Path, labels: Sequence[str]) -> StaticModel:
    """Write a model without weights beside its tokenizer, and return it."""
    space = feature_space(folder, len(labels))
    shape = space.size, len(labels)
    zeros = np.zeros(shape, np.float32)
    model = StaticModel(tuple(labels), space, zeros, zeros[0].copy())
    model.write(folder)
    return model


class FeatureReader:
    """Texts as rows of a sparse matrix, one column a feature; a row's mean is its sum."""

    def __init__(self, folder: Path, model: StaticModel, *, max_tokens: int) -> None:
        """Read the tokenizer.

        Args:
            folder: Where `write_unfitted` wrote `model`.
            model: The model.
            max_tokens: Longer texts are cut to this many tokens.

        Raises:
            ArtifactError: If a file is missing or cannot be used.
        """
        self._encoder = Encoder(folder, max_tokens=max_tokens)
        self._space = model.space

    def matrix(self, texts: Sequence[str]) -> csr_array:
        """Return the share of each feature in each text, of shape (texts, features)."""
        rows, features = [], []
        starts = range(0, len(texts), _TEXTS_AT_ONCE)
        for start in tqdm(starts, desc="features", unit="batches", disable=None):
            tokens = self._encoder.encode(texts[start : start + _TEXTS_AT_ONCE])
            found, columns = find_features(self._encoder.pad(tokens), self._space)
            rows.append(start + found)
            features.append(columns)
        places = np.concatenate(rows), np.concatenate(features)
        shape = len(texts), self._space.size
        counts = csr_array((np.ones(len(places[0])), places), shape=shape)
        lengths = np.maximum(counts.sum(axis=1), 1)
        return csr_array(diags_array(1 / lengths) @ counts)


def fit(
    unfitted: StaticModel,
    reader: FeatureReader,
    train: Targets,
    validation: tuple[Sequence[str], LabelIds],
    *,
    balanced: bool,
) -> Fitted:
    """Fit the weights, with the regularisation that suits the validation rows best.

    Args:
        unfitted: The model without weights.
        reader: Of its features.
        train: What it is to learn.
        validation: Other texts, and the ids of their labels.
        balanced: Whether all labels count alike, though some have fewer rows.

    Raises:
        ModelError: If the rows of the training have a single label.
    """
    examples = _Examples(reader.matrix(train.texts), train.shares, balanced=balanced)
    texts, truth = validation
    others = reader.matrix(texts)
    solver = LogisticRegression(warm_start=True, tol=_TOLERANCE, max_iter=_MOST_ITERATIONS)
    best: Fitted | None = None
    for strength in tqdm(_STRENGTHS, desc="fit", unit="fits", disable=None):
        model = examples.fitted(solver.set_params(C=strength), unfitted)
        logits = others @ model.table.astype(np.float64) + model.bias
        loss = float(-log_softmax(logits, axis=1)[np.arange(len(truth)), truth].mean())
        logger.debug("inverse regularisation %g: validation loss %.4f", strength, loss)
        if best is not None and not loss < best.loss:
            break
        best = Fitted(model, logits, loss, strength)
    assert best is not None  # noqa: S101 -- there is a first one
    return best


class _Examples:
    """Rows as scikit-learn takes them: one for each text and label, with a weight."""

    def __init__(self, matrix: csr_array, shares: Probabilities, *, balanced: bool) -> None:
        texts, labels = np.nonzero(shares >= _LEAST_TARGET)
        if len(np.unique(labels)) < 2:
            raise ModelError(
                "base_model: static: all rows of the training have one label; expected two or more,"
                " as of a larger sample_size"
            )
        weights = shares[texts, labels]
        if balanced:
            totals = np.bincount(labels, weights, shares.shape[1])
            weights = weights * (weights.sum() / (np.count_nonzero(totals) * totals[labels]))
        # Features that no text has keep a weight of 0: the fit is the same without them.
        self._seen = np.unique(matrix.indices)
        matrix = matrix[:, self._seen]
        # The solver is slow where features and bias differ much in size.
        self._scale = 1 / np.sqrt(max(matrix.multiply(matrix).sum() / matrix.shape[0], 1e-12))
        self._rows = (matrix * self._scale)[texts]
        self._labels, self._weights = labels, weights

    def fitted(self, solver: LogisticRegression, unfitted: StaticModel) -> StaticModel:
        """Return the model with the weights that `solver` finds."""
        with warnings.catch_warnings():
            # A fit that stops early is one of stronger regularisation; the loss decides.
            warnings.simplefilter("ignore", ConvergenceWarning)
            solver.fit(self._rows, self._labels, self._weights)
        weights, bias = (
            _of_each_label(solver.coef_ * self._scale),
            _of_each_label(solver.intercept_),
        )
        table = np.zeros_like(unfitted.table)
        table[np.ix_(self._seen, solver.classes_)] = weights.T
        biases = np.full_like(unfitted.bias, _NEVER)
        biases[solver.classes_] = bias
        return replace(unfitted, table=table, bias=biases)


def _of_each_label(found: Weights) -> Weights:
    """Return a row for each label; of two, scikit-learn has the difference alone."""
    if len(found) > 1:
        return found
    both: Weights = np.concatenate([-found, found]) / 2
    return both
