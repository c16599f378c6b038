"""A pipeline that answers otherwise than its fine-tuned model is found out."""

import json
import math
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.pyfunc.utils import pyfunc

from tasks.building import packaging, verification_script
from tasks.building.types import LoggedPipeline, tolerance
from tasks.building.verification import _member_gaps, verify_pipeline
from tasks.common.errors import ModelError
from tasks.common.settings import get_settings
from tasks.composition.types import PipelineParameters
from tasks.measures.paired import PairedCounts
from tasks.promotion.held_out_answers import answer_rows
from tasks.tracking.mlflow_client import connect
from tasks.tracking.registry import find_version
from tasks.training.logged_rows import load_test_rows
from tests.support.builders import Trained, plan_of, with_refused_rows


def shipped_code(logged: LoggedPipeline) -> Path:
    """Return the code of `pyfunc/` in a logged pipeline."""
    model_id = logged.model_uri.removeprefix("models:/")
    (folder,) = get_settings().artifacts.glob(f"*/models/{model_id}/artifacts/**/pipeline/pyfunc")
    return folder


def test_the_check_finds_a_pipeline_that_answers_otherwise(
    trained_anew: Trained,
) -> None:
    logged = packaging.log_pipeline(plan_of(trained_anew, PipelineParameters()))
    classifier = shipped_code(logged) / "classifier.py"
    source = classifier.read_text()
    assert " / np.float32(self._temperature)" in source
    classifier.write_text(source.replace(" / np.float32(self._temperature)", ""))
    with pytest.raises(ModelError, match=r"row 0 of the check: .* expected what models:/dl_fine"):
        verify_pipeline(logged)


def test_the_check_finds_a_pipeline_that_needs_the_repository(
    trained_anew: Trained,
) -> None:
    logged = packaging.log_pipeline(plan_of(trained_anew, PipelineParameters()))
    with (shipped_code(logged) / "pipeline.py").open("a") as file:
        file.write("\nimport tasks.common.errors\n")
    with pytest.raises(ModelError, match=r"fresh process: .*No module named 'tasks'"):
        verify_pipeline(logged)


def test_texts_that_the_pipeline_refuses_stop_neither_check_nor_comparison(
    trained: Trained,
) -> None:
    logged = packaging.log_pipeline(plan_of(trained, PipelineParameters()))
    member = logged.members["model"]
    run_id = with_refused_rows(member.training_run_id)
    changed = member.model_copy(update={"training_run_id": run_id})
    verify_pipeline(logged.model_copy(update={"members": {"model": changed}}))
    name, _, version = (
        trained.pipeline["inference_pipeline_model"].removeprefix("models:/").partition("/")
    )
    rows = load_test_rows(run_id)
    found = find_version(name, version)
    both, _, _, neither = answer_rows(rows[2:], found, found).counts
    assert answer_rows(rows, found, found) == (PairedCounts(both, 0, 0, neither + 2), 0)


def test_the_gap_that_the_check_found_is_on_the_run(trained: Trained) -> None:
    logged = packaging.log_pipeline(plan_of(trained, PipelineParameters()))
    assert logged.reused
    metrics = connect().get_run(logged.run_id).data.metrics
    member = logged.members["model"]
    allowed = tolerance(member.precision, member.temperature)
    assert 0 <= metrics["check_max_score_difference"] <= allowed


def test_a_low_temperature_enlarges_what_scores_may_be_off() -> None:
    assert tolerance("f32", 1.0) == tolerance("f32", 4.0) == 1e-5
    assert tolerance("f32", 0.1) == pytest.approx(1e-4)


# One answer


def logged_as(**fields: Any) -> LoggedPipeline:
    return LoggedPipeline.model_validate(
        {
            "run_id": "",
            "model_uri": "models:/m-1",
            "kind": "full",
            "fingerprint": "",
            "finetuned_model_uri": "models:/f/1",
            "training_run_id": "",
            "labels": ("good", "bad"),
            "max_tokens": 16,
            "engine": "openvino",
            "precision": "f32",
            "gates": (),
        }
        | fields
    )


def gap_of(logged: LoggedPipeline, row: int, answer: str, own: dict[str, float]) -> float:
    (gap,) = _member_gaps(logged, row, answer, {"model": own})
    return gap


def answer(label: str, score: float) -> str:
    return json.dumps({"response": {"prediction_label": label, "prediction_score": score}})


@pytest.mark.parametrize(
    ("precision", "label", "score", "own", "passes"),
    [
        ("f32", "good", 0.7, {"good": 0.7, "bad": 0.3}, True),
        ("f32", "good", 0.700005, {"good": 0.7, "bad": 0.3}, True),
        ("f32", "good", 0.70002, {"good": 0.7, "bad": 0.3}, False),
        ("bf16", "good", 0.705, {"good": 0.7, "bad": 0.3}, True),
        ("bf16", "good", 0.72, {"good": 0.7, "bad": 0.3}, False),
        ("int8", "good", 0.9, {"good": 0.7, "bad": 0.3}, True),
        ("int8", "good", 0.99, {"good": 0.6, "bad": 0.4}, False),
        # As good as equal: either label will do.
        ("f32", "bad", 0.500001, {"good": 0.500001, "bad": 0.499999}, True),
        ("bf16", "bad", 0.503, {"good": 0.503, "bad": 0.497}, True),
        # Another label, with the score of the right one.
        ("f32", "bad", 0.7, {"good": 0.7, "bad": 0.3}, False),
        ("int8", "bad", 0.9, {"good": 0.9, "bad": 0.1}, False),
        ("int8", "other", 0.9, {"good": 0.9, "bad": 0.1}, False),
        ("f32", "good", math.nan, {"good": 0.7, "bad": 0.3}, False),
    ],
)
def test_an_answer_passes_within_the_tolerance_of_its_precision(
    precision: str, label: str, score: float, own: dict[str, float], passes: bool
) -> None:
    logged = logged_as(precision=precision)
    if passes:
        assert gap_of(logged, 0, answer(label, score), own) < 0.3
    else:
        with pytest.raises(ModelError, match=f"models:/m-1: row 4 of the check: {label}"):
            gap_of(logged, 4, answer(label, score), own)


def test_a_bare_label_passes_where_it_is_the_likeliest_or_as_good() -> None:
    plain = logged_as(kind="plain")
    assert gap_of(plain, 0, "good", {"good": 0.7, "bad": 0.3}) == 0
    assert gap_of(plain, 0, "bad", {"good": 0.500001, "bad": 0.499999}) < 1e-5
    with pytest.raises(ModelError, match="expected what models:/f/1 says: good"):
        gap_of(plain, 0, "bad", {"good": 0.7, "bad": 0.3})


@pyfunc  # type: ignore[untyped-decorator]
def quoting(model_input: list[str]) -> list[str]:
    """Fail as a model does whose error quotes what it was asked."""
    raise ValueError(model_input[0])


def test_a_text_that_the_fresh_process_fails_on_is_not_said(tmp_path: Path) -> None:
    mlflow.pyfunc.save_model(tmp_path / "model", python_model=quoting, pip_requirements=[])
    question = tmp_path / "question.json"
    question.write_text(json.dumps(["the-text-of-a-row"]))
    with pytest.raises(SystemExit) as ended:
        verification_script.main(str(tmp_path / "model"), question, tmp_path / "answer.json")
    assert ended.value.code == "ValueError while predicting"
