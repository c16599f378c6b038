"""Gates of an earlier version are taken over under equal conditions, and measured under others."""

import logging
from pathlib import Path
from typing import Any, Never

import mlflow
import pandas as pd
import pytest

from tasks.building import members, openvino_conversion, packaging
from tasks.building.build_records import read_record_of
from tasks.building.prefect_tasks import register_pipeline
from tasks.building.replanning import replan
from tasks.building.types import LoggedPipeline
from tasks.building.version_description import pipeline_description
from tasks.composition.planning import plan_composition
from tasks.composition.types import PipelineParameters, PipelinePlan
from tasks.tracking import registry
from tests.support.builders import Trained, plan_of

RULES = """
import pandas as pd


def after(rows):
    return pd.DataFrame({"queue": rows["prediction_label"].map({"negative": "urgent"})})
"""


def log_with_rules(folder: Path, queue: str, member: str = "model: 1") -> LoggedPipeline:
    """Log the fine-tuned model of a state folder with a rule around it, and with no look-up."""
    (folder / "rules.py").write_text(RULES.replace("urgent", queue))
    path = folder / "film.yaml"
    path.write_text(f"members:\n  film: {{{member}}}\nanswer: film\nrules: rules.py\n")
    return packaging.log_pipeline(plan_composition(str(path)))


def first_record(trained: Trained) -> LoggedPipeline:
    """Return what the first build of a state folder logged."""
    version = registry.find_version(
        "inference_pipeline_model", trained.pipeline["inference_pipeline_model"]
    )
    return read_record_of(version)


def weights_in(trained: Trained, logged: LoggedPipeline) -> Path:
    """Return the weights that OpenVINO reads in a logged pipeline."""
    (found,) = trained.home.rglob(f"{logged.model_uri.removeprefix('models:/')}/**/f32.bin")
    return found


def test_a_changed_rule_measures_no_gate_again(
    trained_anew: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first, first_uri = first_record(trained_anew), trained_anew.pipeline["inference_pipeline_model"]
    assert "taken_over_from" not in trained_anew.pipeline
    logged = log_with_rules(tmp_path, "urgent")
    assert logged.taken_over == {"taken_over_from": first_uri}
    assert logged.members["film"].gates == first.members["model"].gates
    said = "weights, rows, settings, code, packages and machine are the same"
    assert f"gates taken over from {first_uri}: {said}" in caplog.messages
    assert not [text for text in caplog.messages if " passed: " in text]
    # So that the cache answers.
    assert logged.fingerprint == first.fingerprint
    assert packaging.version_tags(logged)["taken_over_from"] == first_uri
    assert packaging.version_tags(logged)["gates"] == packaging.version_tags(first)["gates"]
    second = register_pipeline.fn(logged)
    # Its rules are those that it ships, whatever became of their file.
    (tmp_path / "rules.py").unlink()
    assert packaging.log_pipeline(replan(second, {})).model_uri == logged.model_uri
    assert f"taken over from {first_uri}" in pipeline_description(second, logged)
    rows = mlflow.pyfunc.load_model(logged.model_uri).predict(
        pd.DataFrame({"text": ["an awful film"]})
    )
    assert '"queue": "urgent"' in rows["text"][0]

    # A damaged version is named, and a later one is taken over in its place.
    weights = weights_in(trained_anew, first)
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    assert log_with_rules(tmp_path, "at once").taken_over == {"taken_over_from": second.uri}
    place = "artifacts/pipeline/members/model/openvino"
    assert caplog.messages.count(
        f"gates not taken over from {first_uri}: {place}: f32.bin: missing or damaged; expected "
        "the SHA-256 of its build"
    )
    weights_in(trained_anew, logged).unlink()
    measured = log_with_rules(tmp_path, "soon")
    assert measured.taken_over == {}
    assert measured.fingerprint == first.fingerprint


def test_gates_are_measured_under_other_conditions(trained_anew: Trained, tmp_path: Path) -> None:
    parameters = PipelineParameters(engine="torch", precision="f32")
    plan = plan_of(trained_anew, parameters)
    others = [
        plan_of(trained_anew, parameters.model_copy(update=change))
        for change in ({"max_tokens": 8}, {"precision": "auto"}, {"engine": "auto"})
    ]
    logged = packaging.log_pipeline(plan)

    def gate_key(plan: PipelinePlan) -> str:
        (member,), (weights,) = plan.members.values(), downloaded.values()
        return members._gate_key(member, weights, members._gate_conditions())

    def taken_over_from(folder: str) -> str:
        built = members.add_members(tmp_path / folder, plan, downloaded)
        return built["model"].taken_over_from

    changes: dict[str, Any] = {
        "package_versions": lambda *names: dict.fromkeys(names, "0.1"),
        "describe_machine": lambda: {"cpu": "another"},
        "digest_code": str,
    }
    with members.downloaded_members(plan) as downloaded:
        keys = [gate_key(plan), *(gate_key(other) for other in others)]
        for name, change in changes.items():
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(members, name, change)
                keys.append(gate_key(plan))
        assert len(set(keys)) == 1 + len(others) + len(changes)
        assert logged.members["model"].gate_key == keys[0]
        assert taken_over_from("unregistered") == ""
        uri = register_pipeline.fn(logged).uri
        assert taken_over_from("registered") == uri
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(members, "package_versions", changes["package_versions"])
            assert taken_over_from("other packages") == ""


def test_gates_with_an_error_are_measured_again(trained_anew: Trained, tmp_path: Path) -> None:
    def fail(classifier: Path, folder: Path) -> Never:
        raise RuntimeError("of the moment")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(openvino_conversion, "convert_to_openvino", fail)
        failed = log_with_rules(tmp_path, "urgent", "model: 1, max_tokens: 8")
    assert failed.members["film"].engine == "torch"
    register_pipeline.fn(failed)
    again = log_with_rules(tmp_path, "at once", "model: 1, max_tokens: 8")
    assert (again.members["film"].engine, again.taken_over) == ("openvino", {})


def test_converted_files_of_a_member_with_equal_weights_are_not_replaced(
    trained: Trained, tmp_path: Path
) -> None:
    first = first_record(trained)
    member = first.members["model"]
    assert set(member.converted) == {"f32.bin", "f32.xml"}
    reason = members._take_converted(tmp_path, "models:/inference_pipeline_model/99", member)
    assert reason == (
        "artifacts/pipeline/members/model/openvino: missing; expected f32.bin, f32.xml"
    )
    (tmp_path / "f32.bin").write_text("quantised otherwise")
    version = trained.pipeline["inference_pipeline_model"]
    reason = members._take_converted(tmp_path, version, member)
    assert reason == "a member with equal weights has other converted files"
    assert (tmp_path / "f32.bin").read_text() == "quantised otherwise"
