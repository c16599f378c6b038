import json

import mlflow
import pytest
from mlflow import MlflowClient

from tests.builders import Trained
from tasks.tracking import connect


def test_mlflow_holds_the_whole_training(trained: Trained) -> None:
    client = connect()
    run = client.get_run(trained.training["finetuned_run_id"])
    assert run.data.params["strategy"] == "full"
    assert run.data.params["epochs"] == "2"
    for name in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"):
        assert len(client.get_metric_history(run.info.run_id, name)) >= 2, name
    for name in ("test_accuracy", "test_f1", "test_roc_auc", "test_calibration_error"):
        assert name in run.data.metrics, name
