"""Validate the flow parameters in `prefect.yaml`, which Prefect does only when a run starts."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from prefect import Flow
from pydantic import BaseModel, TypeAdapter, ValidationError

from deployments.prefect_file.schema import validation_problems
from flows.run_requests import BuildRequest, EndToEndRequest, ScoringRequest
from tasks.common.errors import ParameterError

# The records by which flows check combinations of parameters at their start, by flow name.
_REQUESTS: dict[str, type[BaseModel]] = {
    "score-shards": ScoringRequest,
    "end-to-end": EndToEndRequest,
    "build-inference-pipeline": BuildRequest,
}


def invalid_parameters(flow: Flow[..., Any], given: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each unknown parameter and each value of a wrong type."""
    known = inspect.signature(flow.fn, eval_str=True).parameters
    for name, value in given.items():
        if name not in known:
            yield f"{name}: {flow.name} has no such parameter; expected one of {list(known)}"
        elif not _is_template(value):
            try:
                TypeAdapter(known[name].annotation).validate_python(value)
            except ValidationError as error:
                yield from (f"{name}: {problem}" for problem in validation_problems(error))


def missing_parameters(flow: Flow[..., Any], given: Mapping[str, Any], what: str) -> Iterator[str]:
    """Yield a line for each required parameter without a value, in runs started by `what`."""
    for name, parameter in inspect.signature(flow.fn).parameters.items():
        if parameter.default is parameter.empty and name not in given:
            yield f"{name}: missing; {what} cannot ask for it"


def invalid_combinations(flow: Flow[..., Any], given: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the flow would refuse at its start, for parameters that are valid one by one."""
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
    if names <= values.keys() and not any(_is_template(values[name]) for name in names):
        try:
            request(**{name: values[name] for name in names})
        except ParameterError as error:
            yield str(error)


def _is_template(value: Any) -> bool:
    """Return whether a value is a template that an event fills in."""
    return "{{" in str(value)
