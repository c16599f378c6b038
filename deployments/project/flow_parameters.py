"""The parameters that `prefect.yaml` gives to a flow, which Prefect looks at when a run starts."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from prefect import Flow
from pydantic import BaseModel, TypeAdapter, ValidationError

from deployments.project.schema import validation_problems
from flows.requests import EndToEndRequest, ScoringRequest
from tasks.building.types import PipelineParameters
from tasks.common.errors import ParameterError

# What the flows themselves check before anything else, by their names.
_REQUESTS: dict[str, type[BaseModel]] = {
    "score-shards": ScoringRequest,
    "end-to-end": EndToEndRequest,
    "build-inference-pipeline": PipelineParameters,
}


def wrong_parameters(flow: Flow[..., Any], given: Mapping[str, Any]) -> Iterator[str]:
    """Yield what no run of the flow can be given, a line each."""
    known = inspect.signature(flow.fn, eval_str=True).parameters
    for name, value in given.items():
        if name not in known:
            yield f"{name}: {flow.name} has no such parameter; expected one of {list(known)}"
        elif not _is_open(value):
            try:
                TypeAdapter(known[name].annotation).validate_python(value)
            except ValidationError as error:
                yield from (f"{name}: {problem}" for problem in validation_problems(error))


def missing_parameters(flow: Flow[..., Any], given: Mapping[str, Any], what: str) -> Iterator[str]:
    """Yield what a run has to be given and is not; `what` starts it."""
    for name, parameter in inspect.signature(flow.fn).parameters.items():
        if parameter.default is parameter.empty and name not in given:
            yield f"{name}: missing; {what} cannot ask for it"


def wrong_together(flow: Flow[..., Any], given: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the flow refuses as it begins, of parameters that are right one by one."""
    request = _REQUESTS.get(flow.name)
    if request is None:
        return
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(flow.fn).parameters.items()
        if parameter.default is not parameter.empty
    }
    values = defaults | dict(given)
    names = request.model_fields.keys()
    if names <= values.keys() and not any(_is_open(values[name]) for name in names):
        try:
            request(**{name: values[name] for name in names})
        except ParameterError as error:
            yield str(error)


def _is_open(value: Any) -> bool:
    """Return whether an event has yet to fill it in."""
    return "{{" in str(value)
