"""The fit near given weights: its gradient, scikit-learn's answer, and labels without rows."""

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression

from tasks.learning.regression import STRENGTHS, Examples, NearFit, Weights, choose_strength


def examples_of(rows: int, features: int, labels: int, *, seed: int = 0) -> Examples:
    random = np.random.default_rng(seed)
    ids = random.permutation(np.arange(rows) % labels)
    centres = random.normal(size=(labels, features))
    values = (centres[ids] + random.normal(size=(rows, features))) / np.sqrt(features)
    return Examples(values, ids, random.uniform(0.5, 2, size=rows))


def parent_of(features: int, labels: int) -> Weights:
    return np.random.default_rng(9).normal(size=(features, labels))


@pytest.mark.parametrize("labels", [2, 20])
def test_gradient_is_that_of_finite_differences(labels: int) -> None:
    fit = NearFit(examples_of(60, 5, labels), parent_of(5, labels))
    change = np.random.default_rng(1).normal(size=5 * labels)
    loss, gradient = (
        lambda steps, part=part: fit.loss_and_gradient(steps, 0.1)[part] for part in (0, 1)
    )
    assert check_grad(loss, gradient, change) < 1e-5


@pytest.mark.parametrize("labels", [2, 20])
@pytest.mark.parametrize("strength", [1e-1, 1e-3])
def test_near_zero_it_is_the_fit_of_scikit_learn(labels: int, strength: float) -> None:
    examples = examples_of(400, 6, labels)
    # Its C multiplies the sum of the losses, our strength the penalty of their mean. Of two labels
    # it penalises the difference d of their weights, d², where ours are -d/2 and d/2: d²/2.
    halves = 2 if labels == 2 else 1
    theirs = LogisticRegression(
        C=halves / (strength * examples.weights.sum()),
        fit_intercept=False,
        tol=1e-8,
        max_iter=2_000,
    ).fit(examples.features, examples.labels, examples.weights)
    both = np.concatenate([-theirs.coef_, theirs.coef_]) / 2 if labels == 2 else theirs.coef_
    found = NearFit(examples, np.zeros((6, labels))).minimum(strength)
    assert np.abs(found - both.T).max() < 1e-3


def test_a_strong_penalty_keeps_the_parent_and_a_weak_one_leaves_it() -> None:
    examples, parent = examples_of(400, 6, 3), parent_of(6, 3)
    fit = NearFit(examples, parent)
    distances = [np.abs(fit.minimum(strength) - parent).max() for strength in (1e6, *STRENGTHS)]
    assert distances[0] < 1e-5
    assert distances == sorted(distances)
    assert examples.loss(fit.minimum(1e-3)) < examples.loss(parent) / 2


def test_a_fit_that_goes_on_from_another_finds_the_same_weights() -> None:
    examples, parent = examples_of(400, 6, 3), parent_of(6, 3)
    fit = NearFit(examples, parent)
    after = [fit.minimum(strength) for strength in STRENGTHS[:4]][-1]
    assert np.abs(after - NearFit(examples, parent).minimum(STRENGTHS[3])).max() < 1e-3


def test_labels_without_a_row_keep_the_weights_of_the_parent() -> None:
    parent = parent_of(6, 4)
    found = NearFit(examples_of(100, 6, 3), parent).minimum(1e-3)
    assert (found[:, 3] == parent[:, 3]).all()
    assert (found[:, :3] != parent[:, :3]).all()


def test_sparse_rows_are_fitted_as_dense_ones() -> None:
    examples, parent = examples_of(200, 6, 3), parent_of(6, 3)
    sparse = Examples(csr_array(examples.features), examples.labels, examples.weights)
    found, expected = (NearFit(rows, parent).minimum(1e-2) for rows in (sparse, examples))
    assert np.abs(found - expected).max() < 1e-4


def test_a_row_of_double_weight_counts_as_two() -> None:
    examples, parent = examples_of(100, 6, 3), parent_of(6, 3)
    once, twice = np.ones(100), np.where(np.arange(100) < 10, 2.0, 1.0)
    again = np.concatenate([np.arange(100), np.arange(10)])
    repeated = Examples(examples.features[again], examples.labels[again], np.ones(110))
    weighted = Examples(examples.features, examples.labels, twice)
    found, expected = (NearFit(rows, parent).minimum(1e-2) for rows in (weighted, repeated))
    assert np.abs(found - expected).max() < 1e-5
    plain = NearFit(Examples(examples.features, examples.labels, once), parent).minimum(1e-2)
    assert np.abs(found - plain).max() > 1e-3


def test_rows_that_contradict_the_parent_choose_a_weak_penalty_and_noise_a_strong_one() -> None:
    parent = parent_of(6, 3)
    unseen = Examples(np.empty((0, 6)), np.empty(0, np.int64), np.empty(0))
    folds = np.arange(400) % 2
    assert choose_strength(examples_of(400, 6, 3), parent, folds, unseen) <= 1e-2
    random = np.random.default_rng(3)
    rows = random.normal(size=(400, 6))
    answers = np.exp(rows @ parent)
    labels = (
        answers.cumsum(1) / answers.sum(1, keepdims=True) < random.uniform(size=(400, 1))
    ).sum(1)
    agreeing = Examples(rows, labels, np.ones(400))
    assert choose_strength(agreeing, parent, folds, unseen) >= 1e-2


def test_a_penalty_that_forgets_old_rows_is_too_weak() -> None:
    parent = parent_of(6, 3)
    folds = np.arange(400) % 2
    news, rows = examples_of(400, 6, 3), np.random.default_rng(5).normal(size=(400, 6))
    old = Examples(rows, (rows @ parent).argmax(axis=1), np.full(400, 1e-3))
    assert choose_strength(news, parent, folds, news) < STRENGTHS[0]
    assert choose_strength(news, parent, folds, old) == STRENGTHS[0]
