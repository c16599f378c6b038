"""A parameter means the same in every flow: one type, one default, one description."""

from itertools import chain
from typing import Annotated, Any

import pytest
from prefect import Flow, flow
from prefect.utilities.callables import parameter_schema
from pydantic import BaseModel, Field

from flows.build_inference_pipeline import build_inference_pipeline
from flows.end_to_end import end_to_end
from flows.parameters import arguments_for, described, record_from
from flows.run_requests import EndToEndRequest, ScoringRequest
from flows.score_shards import score_shards
from flows.train_classifier import train_classifier
from tasks.common.errors import ParameterError
from tasks.composition.types import PipelineParameters
from tasks.dataset.types import LabelledData
from tasks.maintenance.types import Limits
from tasks.output.row_parameters import RowParameters
from tasks.scoring.types import ScoringOptions, ScoringParameters
from tasks.training.types import FineTuneParameters
from tests.support.every_flow import FLOWS


def groups(*agreeing: str) -> set[frozenset[str]]:
    """Return sets of flows, each given as names between blanks."""
    return {frozenset(names.split()) for names in agreeing}


# Of one name in two flows, and meant to differ: the flows that agree, and why others do not.
DIFFERENT: dict[str, tuple[set[frozenset[str]], str]] = {
    "steps": (groups("train-classifier", "end-to-end"), "each flow has steps of its own"),
    "inputs": (
        groups("score-shards", "end-to-end", "compare-pipelines"),
        "end-to-end scores held-out rows where none are given; compare-pipelines takes outputs",
    ),
    "output_dir": (
        groups(
            "score-shards",
            "end-to-end",
            "explain-prediction",
            "compare-pipelines",
            "compare-shadow watch-champion",
        ),
        "end-to-end has a folder of its own; a row, or a shadow, is read; a comparison has two",
    ),
    "finetuned_model": (
        groups("build-inference-pipeline", "end-to-end"),
        "in end-to-end it replaces a step, and empty means that the step runs",
    ),
    "max_tokens": (
        groups("train-classifier end-to-end", "build-inference-pipeline"),
        "0 takes, when a pipeline is built, what the model was trained with",
    ),
    "text_column": (
        groups("train-classifier end-to-end", "score-shards compare-pipelines"),
        "of the rows to train on it is found by itself, of those to score it is named",
    ),
    "label_column": (
        groups(
            "train-classifier end-to-end",
            "score-shards compare-pipelines compare-shadow watch-champion",
        ),
        "of the rows to score it is optional, and measures the accuracy",
    ),
    "promotion": (
        groups(
            "build-inference-pipeline", "compare-pipelines compare-shadow", "learn-from-feedback"
        ),
        "a comparison promotes if told to, by a test that may be repeated; feedback has a gate",
    ),
    "max_flips": (
        groups("compare-pipelines compare-shadow", "watch-champion"),
        "it keeps a version from being promoted in two, and takes one back in the other",
    ),
    "dry_run": (
        groups("score-shards", "prune-cache"),
        "what is not done is scoring in one flow, dropping in the other",
    ),
}

RECORDS: dict[Flow[..., Any], tuple[type[BaseModel], ...]] = {
    train_classifier: (LabelledData, FineTuneParameters),
    build_inference_pipeline: (PipelineParameters,),
    score_shards: (ScoringRequest, RowParameters, ScoringOptions, ScoringParameters),
    end_to_end: (EndToEndRequest, LabelledData, FineTuneParameters, ScoringOptions),
}
# of a record: a path, a number that is not 0, and an address that is not empty
RESOLVED = {"output_dir", "workers", "runner"}


def _parameters(flow: Flow[..., Any]) -> dict[str, dict[str, Any]]:
    schema = parameter_schema(flow)
    return {
        name: {key: value for key, value in field.items() if key != "position"}
        | {"required": name in schema.required}
        for name, field in schema.properties.items()
    }


def test_a_parameter_of_two_flows_is_the_same_in_both() -> None:
    fields = {flow.name: _parameters(flow) for flow in FLOWS}
    for name in set(chain.from_iterable(fields.values())):
        agreeing: dict[str, set[str]] = {}
        for flow_name, parameters in fields.items():
            if name in parameters:
                agreeing.setdefault(repr(parameters[name]), set()).add(flow_name)
        found = set(map(frozenset, agreeing.values()))
        assert len(found) == 1 or found == DIFFERENT[name][0], name
        assert len(found) > 1 or name not in DIFFERENT


@pytest.mark.parametrize("flow", RECORDS, ids=lambda flow: flow.name)
def test_a_parameter_has_the_bounds_and_the_default_of_its_record(flow: Flow[..., Any]) -> None:
    parameters = _parameters(flow)
    for record in RECORDS[flow]:
        fields = record.model_json_schema()["properties"]
        for name in fields.keys() & parameters.keys() - RESOLVED:
            expected = {key: value for key, value in fields[name].items() if key != "title"}
            found = {key: parameters[name].get(key) for key in expected}
            assert found == expected, (record, name)


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_each_parameter_is_described(flow: Flow[..., Any]) -> None:
    assert all(field["description"] for field in _parameters(flow).values())


def test_descriptions_of_types_become_those_of_the_form() -> None:
    @flow
    @described
    def bake(minutes: Annotated[int, Field(ge=1, description="How long.")] = 5) -> str:
        """Bake bread.

        Returns:
            The bread.
        """
        return f"bread of {minutes} minutes"

    assert _parameters(bake)["minutes"]["description"] == "How long."
    assert _parameters(bake)["minutes"]["minimum"] == 1
    assert (bake.fn.__doc__ or "").startswith("Bake bread.\n\nArgs:\n    minutes: How long.\n\nRet")


def test_a_type_without_a_description_is_refused() -> None:
    def bake(minutes: Annotated[int, Field(ge=1)]) -> str:
        """Bake bread."""
        return f"bread of {minutes} minutes"

    with pytest.raises(TypeError, match=r"^minutes: its type has no description"):
        described(bake)


def test_records_and_flows_take_the_values_of_their_names() -> None:
    given = {"epochs": 3, "source": "imdb", "nothing": 1}
    assert record_from(FineTuneParameters, given) == FineTuneParameters(epochs=3)
    assert record_from(Limits, given) == Limits()
    assert arguments_for(train_classifier, given) == {"epochs": 3, "source": "imdb"}
    assert arguments_for(score_shards, given) == {}


def test_a_request_is_refused_as_a_whole() -> None:
    with pytest.raises(ParameterError, match=r"^only_failed"):
        ScoringRequest(inputs=["in"], resume=False, only_failed=True)
    with pytest.raises(ParameterError, match=r"^languages"):
        ScoringRequest(inputs=["in"], language_policy="reject")
    with pytest.raises(ParameterError, match=r"^inputs: missing"):
        EndToEndRequest(steps=["score"])
    assert EndToEndRequest(steps=["score"], inputs=["in"]).todo == ("score",)
