"""Feedback is taken in, learnt, judged and reported by one flow."""

import json
from pathlib import Path
from typing import Any, Never

import mlflow
import pandas as pd
import pytest
from mlflow.entities import Run

from flows.learn_from_feedback import learn_from_feedback
from tasks.common.errors import DataError
from tasks.reports import learning_run
from tasks.tracking import registry
from tasks.tracking.mlflow_client import connect, has_artifact, read_logged_json
from tasks.tracking.names import RegisteredModel
from tasks.training import evaluation
from tasks.training.types import DISTRIBUTION_FILE
from tests.support.builders import build_unverified, train_unevaluated
from tests.support.films import NEW, TRAINED, films

pytestmark = pytest.mark.usefixtures("prefect_harness")

PIPELINE = "inference_pipeline_model"


def learn(file: Path) -> dict[str, Any]:
    report: dict[str, Any] = learn_from_feedback((str(file),))
    return report


def logged_runs() -> list[Run]:
    """Return the runs of learnings, the first one first."""
    client = connect()
    experiment = client.get_experiment_by_name("learn-from-feedback")
    assert experiment
    return list(client.search_runs([experiment.experiment_id], order_by=["start_time ASC"]))


def test_a_version_learns_once_and_becomes_champion_if_it_is_shown_to_be_better(
    new_database: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "reviews.csv"
    films(TRAINED, range(400)).to_csv(data, index=False)
    trained = train_unevaluated("static", data, test_fraction=0.6)
    assert build_unverified(trained["finetuned_model"])["alias"] == "champion"
    known = pd.read_parquet(Path(trained["split_folder"]) / "train.parquet").head(1)
    refused = pd.DataFrame({"text": ["a secret film", ""], "label": ["neutral", "positive"]})
    good = tmp_path / "good.csv"
    pd.concat([films(NEW, range(400, 500)), known[["text", "label"]], refused]).to_csv(
        good, index=False
    )

    report = learn(good)
    assert (report["taken_in"], report["labels"]) == (201, 201)
    assert sum(report["refused"].values()) == 2
    assert (report["learnt"], report["alias"]) == (True, "champion")
    assert report["inference_pipeline_model"] == f"models:/{PIPELINE}/2"
    assert "not_made" not in report
    assert registry.get_aliases(PIPELINE) == {"champion": 2}
    # It is measured like any training: the trigger needs its accuracy and scores.
    training = training_run(report["finetuned_models"]["model"])
    assert training.data.metrics["test_accuracy"] > 0.9
    assert read_logged_json(training.info.run_id, DISTRIBUTION_FILE)
    assert has_artifact(training.info.run_id, "report.html")

    (run,) = logged_runs()
    assert report["report"].endswith(f"/runs/{run.info.run_id}/artifacts/report.html")
    assert run.data.tags["champion_uri"] == f"models:/{PIPELINE}/1"
    assert run.data.tags["learnt_uri"] == report["inference_pipeline_model"]
    metrics = run.data.metrics
    assert (metrics["taken_in"], metrics["refused"], metrics["running_labels"]) == (201, 2, 200)
    assert metrics["labels_to_learn"] + metrics["labels_held_out"] == 201
    assert metrics["feedback_p_value"] < 0.05
    assert metrics["feedback_accuracy"] > metrics["feedback_champion_accuracy"]
    record = read_logged_json(run.info.run_id, "learning.json")
    assert record
    assert record["known_to_the_version"] == 1
    windows = record["running_accuracy"][f"models:/{PIPELINE}/1"]
    assert [window["labels"] for window in windows] == [50, 50, 50, 50]
    assert list(record["gate"]["batches"]) == ["batch-00001"]
    page = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/report.html")
    assert "flows.promote_pipeline --version previous" in page
    for text in ("lovely", "secret"):
        assert text not in page + json.dumps(record)

    # Nothing is new: nothing is learnt, nor reported.
    again = learn(good)
    assert (again["taken_in"], again["learnt"]) == (0, False)
    assert again["reason"] == f"models:/{PIPELINE}/2, the champion, has learnt all labels"
    assert "report" not in again
    assert len(logged_runs()) == 1

    # Labels that contradict what is known; and an evaluation that fails costs no version.
    poor = tmp_path / "poor.csv"
    films({"great": "negative", "awful": "positive"}, range(500, 600)).to_csv(poor, index=False)

    def broken(*_: object) -> Never:
        raise DataError("the disk: is full; expected room")

    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "measure_model", broken)
        patched.setattr(learning_run, "log_learning", broken)
        report = learn(poor)
    assert (report["taken_in"], report["alias"]) == (200, "challenger")
    assert report["reason"].endswith(f"promote it with {command(3)}")
    failure = "not made (the disk: is full; expected room)"
    assert report["not_made_because"] == {"model: evaluation": failure}
    assert report["report"] == failure
    assert registry.get_aliases(PIPELINE) == {"champion": 2, "challenger": 3}

    # A schedule that learns the same again makes no other version, and what is missing.
    again = learn(poor)
    assert (again["taken_in"], again["alias"]) == (0, "challenger")
    assert again["inference_pipeline_model"] == f"models:/{PIPELINE}/3"
    assert "not_made" not in again
    assert "test_accuracy" in training_run(again["finetuned_models"]["model"]).data.metrics
    run = logged_runs()[1]
    assert again["report"].endswith(f"/runs/{run.info.run_id}/artifacts/report.html")
    record = read_logged_json(run.info.run_id, "learning.json")
    assert record
    assert list(record["running_accuracy"]) == [f"models:/{PIPELINE}/{n}" for n in (1, 2)]
    assert list(record["gate"]["batches"]) == ["batch-00001", "batch-00002"]


def command(version: int) -> str:
    return f"python -m flows.promote_pipeline --version {version}"


def training_run(uri: str) -> Run:
    """Return the run that trained a fine-tuned version."""
    version = RegisteredModel.from_uri(uri)
    return connect().get_run(str(registry.get_version(version.name, version.version).run_id))
