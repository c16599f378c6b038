"""Predict a row again with the version that computed it, and compare."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlflow.entities.model_registry import ModelVersion

from tasks.building.build_records import read_record_of
from tasks.building.types import tolerance
from tasks.common.errors import ModelError
from tasks.output.records import DECIDER_COLUMN
from tasks.tracking.names import PIPELINE_MODEL
from tasks.tracking.pipeline_loader import (
    load_pipeline,
    load_typed_pipeline,
    predict_documents,
)
from tasks.tracking.registry import find_registered_version


def pipeline_version(logged: str) -> ModelVersion:
    """Return the registered pipeline version that a logged model is.

    Raises:
        ModelError: If there is none any more.
    """
    pipeline = find_registered_version(PIPELINE_MODEL, logged)
    if pipeline is None:
        raise ModelError(f"{logged}: no version of {PIPELINE_MODEL} is that model any more")
    return pipeline


def verify_prediction(chain: Mapping[str, Any], text: object) -> dict[str, str]:
    """Predict a row again with the version that computed it, and compare.

    Args:
        chain: The row's lineage.
        text: What the model reads of it.

    Returns:
        What was compared.

    Raises:
        ModelError: If the version is gone, or the prediction differs now.
    """
    version = chain["inference_pipeline_model_uri"]
    (answer,) = predict_documents(load_pipeline(version), [text], use_cache=False, batch_tokens=1)
    response = answer["response"] or {"prediction_label": None, "prediction_score": 0.0}
    now = _predictions(response, answer["model_metadata"].get("members", ()))
    before = _predictions(chain, chain.get("members", ()))
    allowed = _allowed_differences(chain, version)
    place = f"{chain['shard']} row {chain['row']}: {version}"
    differences = []
    for name, (expected, expected_score) in before.items():
        label, score = now.get(name, (None, 0.0))
        differences.append(abs(score - expected_score))
        # Not `difference > …`, which a NaN would pass.
        if label != expected or not differences[-1] <= allowed[name]:
            raise ModelError(
                f"{place}{name and f', member {name},'} answers {label} {score:.6f} now; "
                f"expected {expected} {expected_score:.6f} within {allowed[name]}"
            )
    if list(now) != list(before):
        raise ModelError(
            f"{place}: the members {list(now)[1:]} see the text now; expected {list(before)[1:]}"
        )
    if (decider := answer["model_metadata"].get("decided_by")) != chain.get(DECIDER_COLUMN):
        raise ModelError(f"{place}: {decider} decides now; expected {chain[DECIDER_COLUMN]}")
    others = len(before) - 1
    members = f" and {others} member{'s' if others > 1 else ''}" if others else ""
    return {"verified": f"same label{members}, scores within {max(differences):.1e}"}


def _predictions(
    answer: Mapping[str, Any], members: Sequence[Mapping[str, Any]]
) -> dict[str, tuple[str, float]]:
    """Return label and score of an answer, named "", and of each member."""
    found = {member["name"]: (member["label"], member["score"]) for member in members}
    return {"": (answer["prediction_label"], answer["prediction_score"])} | found


def _allowed_differences(chain: Mapping[str, Any], version: str) -> dict[str, float]:
    """Return how far the score of the answer, named "", and those of its members may be off.

    The row may have been scored with another engine on another machine.
    """
    registered = pipeline_version(version)
    if "members" not in chain:
        temperature = float(registered.tags.get("temperature", 1.0))
        precisions = (chain["precision"], load_typed_pipeline(version).variant.precision)
        return {"": max(tolerance(precision, temperature) for precision in precisions)}
    allowed = {
        name: max(
            tolerance(gate.precision, member.temperature)
            for gate in member.gates
            if not gate.reason
        )
        for name, member in read_record_of(registered).members.items()
    }
    return {"": max(allowed.values())} | allowed
