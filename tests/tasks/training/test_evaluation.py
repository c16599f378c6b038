"""Test metrics, against values worked out by hand."""

import math

import mlflow
import numpy as np
import pytest

from tasks.tracking.mlflow_client import connect
from tasks.training.evaluation import classification_metrics, measure_model
from tasks.training.logged_rows import load_test_rows
from tasks.training.mlflow_run import find_run
from tasks.training.types import CONFUSION_FILE, DISTRIBUTION_FILE
from tests.support.builders import Trained, with_refused_rows


def test_metrics_of_four_rows_are_those_worked_out_by_hand() -> None:
    truth = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]])
    metrics = classification_metrics(truth, probabilities)
    assert metrics["test_accuracy"] == 0.75
    # Label 0: precision 1, recall 1/2; label 1: precision 2/3, recall 1.
    assert metrics["test_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    # Every row of label 1 has a higher probability of it than every row of label 0.
    assert metrics["test_roc_auc"] == 1.0


def test_three_labels_are_each_compared_with_the_rest() -> None:
    truth = np.array([0, 1, 2])
    assert classification_metrics(truth, np.eye(3))["test_roc_auc"] == 1.0
    assert classification_metrics(truth, np.eye(3)[[1, 2, 0]])["test_accuracy"] == 0.0


def test_a_single_label_has_no_roc() -> None:
    metrics = classification_metrics(np.array([1, 1]), np.array([[0.2, 0.8], [0.6, 0.4]]))
    assert math.isnan(metrics["test_roc_auc"])


def test_a_refused_row_is_wrong_and_has_no_score() -> None:
    truth, sure = np.array([0, 1]), np.array([[1.0, 0.0], [0.0, 1.0]])
    metrics = classification_metrics(truth, sure, refused=np.array([0, 0]))
    assert metrics["test_accuracy"] == 0.5
    # Label 0: precision 1, recall 1/3; label 1: both 1.
    assert metrics["test_f1"] == pytest.approx((1 / 2 + 1) / 2)
    assert (metrics["test_roc_auc"], metrics["test_calibration_error"]) == (1.0, 0.0)
    assert metrics["test_refused"] == 2


def test_rows_that_are_all_refused_are_all_wrong() -> None:
    metrics = classification_metrics(np.array([], int), np.empty((0, 2)), refused=np.array([0, 1]))
    assert (metrics["test_accuracy"], metrics["test_f1"]) == (0.0, 0.0)
    assert math.isnan(metrics["test_roc_auc"])


def test_texts_that_the_pipeline_refuses_are_wrong_in_the_evaluation_of_an_earlier_training(
    trained: Trained, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = trained.training["finetuned_run_id"]
    earlier = find_run(run_id).model_copy(update={"run_id": with_refused_rows(run_id)})
    known = connect().get_run(run_id).data.metrics
    measured = measure_model(earlier)
    rows = len(load_test_rows(earlier.run_id))
    right = known["test_accuracy"] * (rows - 2)
    assert measured.metrics["test_accuracy"] == pytest.approx(right / rows)
    assert measured.metrics["test_refused"] == 2
    for name in ("test_roc_auc", "test_calibration_error"):
        assert measured.metrics[name] == pytest.approx(known[name]), name
    assert "2 of the test rows are refused by the pipeline, and count as wrong" in caplog.text
    artifacts = connect().get_run(earlier.run_id).info.artifact_uri
    confusion = mlflow.artifacts.load_dict(f"{artifacts}/{CONFUSION_FILE}")
    assert sum(map(sum, confusion["data"])) == rows - 2
    distribution = mlflow.artifacts.load_dict(f"{artifacts}/{DISTRIBUTION_FILE}")
    assert sum(distribution["labels"].values()) == sum(distribution["scores"]) == rows - 2
