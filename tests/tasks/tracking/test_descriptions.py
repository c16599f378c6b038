"""Registered versions describe themselves to people, and an error there costs nothing else."""

import re

import mlflow
import pytest

from tasks.building.build_records import read_record
from tasks.building.types import Gate
from tasks.building.version_description import pipeline_description
from tasks.tracking.descriptions import MOST_CHARACTERS, training_rows, write_description
from tasks.tracking.mlflow_client import connect, ensure_experiment
from tasks.tracking.names import TRAINING_EXPERIMENT, RegisteredModel
from tests.support.builders import Trained, finetuned_of

HOSTILE = "<img src=x onerror=alert(1)> [a](http://evil.example) | b\n# c \x1b[2J" + "x" * 500


def described(version: RegisteredModel) -> str:
    found = connect().get_model_version(version.name, str(version.version))
    return str(found.description)


def test_versions_say_what_they_are_how_well_they_do_and_how_they_are_used(
    trained: Trained,
) -> None:
    finetuned = finetuned_of(trained)
    pipeline = RegisteredModel.from_uri(trained.pipeline["inference_pipeline_model"])
    accuracy = f"| accuracy, test rows | {trained.training['test_accuracy']:.4f} |"
    for version in (finetuned, pipeline):
        text = described(version)
        assert accuracy in text
        assert "| labels | negative, positive |" in text
        assert len(text) < MOST_CHARACTERS
        assert version.uri in text
    text = described(pipeline)
    assert "| openvino f32 | yes |" in text
    assert "| openvino bf16 | no: needs" in text
    assert f"python -m flows.promote_pipeline --version {pipeline.version}" in text
    assert f"mlflow models serve --model-uri {pipeline.uri}" in text
    for version in (finetuned, pipeline):
        assert "| `champion` |" in connect().get_registered_model(version.name).description


def test_description_by_people_stays_and_one_of_before_is_renewed(trained: Trained) -> None:
    version, client = finetuned_of(trained), connect()
    before = described(version)
    write_description(version, lambda: "new figures")
    assert described(version) == "new figures"
    client.update_model_version(version.name, str(version.version), "ours since May")
    write_description(version, lambda: "other figures")
    assert described(version) == "ours since May"
    client.update_model_version(version.name, str(version.version), "")
    write_description(version, lambda: before)
    assert described(version) == before


def test_description_that_cannot_be_made_costs_one_warning(
    trained: Trained, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> str:
        raise ValueError("no figures\nand more")

    version = finetuned_of(trained)
    before = described(version)
    write_description(version, fail)
    assert described(version) == before
    (line,) = caplog.messages
    assert line.startswith(f"{version.uri}: has no description (ValueError, line ")


def test_labels_and_names_of_others_are_shown_as_text_and_cut(
    trained: Trained,
) -> None:
    labels = [f"{HOSTILE} {number}" for number in range(500)]
    with mlflow.start_run(experiment_id=ensure_experiment(TRAINING_EXPERIMENT)) as run:
        mlflow.log_params({"source": HOSTILE, "base_model": HOSTILE})
        mlflow.log_dict({"labels": labels, "rows": {"train": 7, "test": 2}}, "data/split.json")
    rows = dict(training_rows(run.info.run_id))
    assert rows["rows"] == "7 train, 2 test"
    assert rows["figures"] == "not evaluated yet"
    assert "and 488 more" in rows["labels"]
    gate = Gate(engine="torch", precision="f32", reason=HOSTILE)
    pipeline = RegisteredModel.from_uri(trained.pipeline["inference_pipeline_model"])
    version = connect().get_model_version(pipeline.name, str(pipeline.version))
    record = read_record(connect().get_run(str(version.run_id)))
    assert record is not None
    changes = {"gates": (gate,) * 5, "training_run_id": run.info.run_id}
    logged = record.model_copy(update=changes)
    text = pipeline_description(RegisteredModel(name="m", version=1), logged)
    assert len(text) < MOST_CHARACTERS
    for markup in (r"(?<!\\)<img", r"(?<!\\)\[a", r"(?<!\\)://", "\x1b", "\n# c"):
        assert not re.search(markup, text)
