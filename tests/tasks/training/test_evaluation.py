"""Test metrics, against values worked out by hand."""

import math

import numpy as np
import pytest

from tasks.training.evaluation import calibration_error, classification_metrics


def test_metrics_of_four_rows_are_those_worked_out_by_hand() -> None:
    truth = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]])
    metrics = classification_metrics(truth, probabilities)
    assert metrics["test_accuracy"] == 0.75
    # Label 0: precision 1, recall 1/2; label 1: precision 2/3, recall 1.
    assert metrics["test_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    # Every row of label 1 has a higher probability of it than every row of label 0.
    assert metrics["test_roc_auc"] == 1.0


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    # Ten rows at 0.8, of which six are right, and ten at 0.99, all right.
    sure, surer = np.array([0.8, 0.2]), np.array([0.99, 0.01])
    probabilities = np.array([sure] * 10 + [surer] * 10)
    truth = np.array([0] * 6 + [1] * 4 + [0] * 10)
    assert calibration_error(truth, probabilities) == pytest.approx(0.5 * 0.2 + 0.5 * 0.01)


def test_a_model_that_is_sure_and_right_has_no_calibration_error() -> None:
    assert calibration_error(np.array([0, 1]), np.array([[1.0, 0.0], [0.0, 1.0]])) == 0.0


def test_three_labels_are_each_compared_with_the_rest() -> None:
    truth = np.array([0, 1, 2])
    assert classification_metrics(truth, np.eye(3))["test_roc_auc"] == 1.0
    assert classification_metrics(truth, np.eye(3)[[1, 2, 0]])["test_accuracy"] == 0.0


def test_a_single_label_has_no_roc() -> None:
    metrics = classification_metrics(np.array([1, 1]), np.array([[0.2, 0.8], [0.6, 0.4]]))
    assert math.isnan(metrics["test_roc_auc"])
