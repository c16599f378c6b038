"""Calibration, against values worked out by hand and against a model whose scores are known."""

import numpy as np
import pytest

from tasks.measures.calibration import calibration_error, fit_temperature, reliability, scores_at


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    # Ten rows at 0.8, of which six are right, and ten at 0.99, all right.
    sure, surer = np.array([0.8, 0.2]), np.array([0.99, 0.01])
    probabilities = np.array([sure] * 10 + [surer] * 10)
    truth = np.array([0] * 6 + [1] * 4 + [0] * 10)
    bins = reliability(truth, probabilities)
    assert bins == [pytest.approx((0.8, 0.6, 10)), pytest.approx((0.99, 1.0, 10))]
    assert calibration_error(bins) == pytest.approx(0.5 * 0.2 + 0.5 * 0.01)


def test_a_model_that_is_sure_and_right_has_no_calibration_error() -> None:
    bins = reliability(np.array([0, 1]), np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert calibration_error(bins) == 0.0


@pytest.mark.parametrize("wrong_by", [0.1, 0.3, 1.0, 4.0])
def test_scores_that_are_too_low_or_too_high_are_corrected(wrong_by: float) -> None:
    chance = np.random.default_rng(5)
    logits = chance.normal(size=(4_000, 5)) * 3
    truth = np.array([chance.choice(5, p=row) for row in scores_at(logits, 1.0)])
    given = logits * wrong_by
    temperature = fit_temperature(given, truth)
    assert temperature == pytest.approx(wrong_by, rel=0.1)
    after = scores_at(given, temperature)
    assert calibration_error(reliability(truth, after)) < 0.03
    assert (after.argmax(axis=1) == given.argmax(axis=1)).all()


@pytest.mark.parametrize("rows", [1, 10, 1_000])
def test_scores_of_rows_that_are_all_right_stay_below_one_by_their_number(rows: int) -> None:
    truth = np.arange(rows) % 2
    temperature = fit_temperature(np.eye(2)[truth], truth)
    assert 0.01 < temperature < 10
    assert scores_at(np.eye(2), temperature).max() == pytest.approx(1 - 1 / (rows + 2), rel=1e-3)


def test_logits_that_are_no_numbers_are_left_as_they_are() -> None:
    assert fit_temperature(np.array([[np.nan, 1.0], [0.0, 1.0]]), np.array([0, 1])) == 1.0
