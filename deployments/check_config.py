"""`python -m deployments.check_config`: refuse what Prefect would take in part from `prefect.yaml`.

Prefect ignores keys that it does not know, takes an entrypoint that does not load, and looks at the
parameters when a run starts, which for a schedule is at night.
"""

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from prefect import Flow
from prefect.events import DeploymentTriggerTypes
from prefect.exceptions import MissingFlowError, ScriptError
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.templating import apply_values
from pydantic import TypeAdapter, ValidationError

from deployments.errors_shown import run
from deployments.project_file import Deployment, ProjectFile
from tasks.errors import ParameterError
from tasks.settings import REPOSITORY, environment_with

PROJECT_FILE = REPOSITORY / "prefect.yaml"

_VARIABLE = re.compile(r"\{\{ *\$(\w+) *\}\}")
_TRIGGERS: TypeAdapter[Any] = TypeAdapter(DeploymentTriggerTypes)


def check(path: Path = PROJECT_FILE) -> None:
    """Check a `prefect.yaml` and the flows that it names.

    Raises:
        ParameterError: With all that is wrong, in one line.
    """
    found = list(problems(path))
    if found:
        raise ParameterError(f"{path}: {'; '.join(found)}")


def problems(path: Path) -> Iterator[str]:
    """Yield what is wrong with a `prefect.yaml`, a line each."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        yield f"no YAML ({' '.join(str(error).split())})"
        return
    content = apply_values(raw, environment_with({}), remove_notset=False)
    yield from (f"variable {name} is not set" for name in _unset_variables(content))
    try:
        project = ProjectFile.model_validate(content)
    except ValidationError as error:
        yield from _in_words(error)
        return
    seen = set()
    for deployment in project.deployments:
        for problem in _problems_of(deployment):
            yield f"{deployment.name}: {problem}"
        if (key := (deployment.entrypoint, deployment.name)) in seen:
            yield f"{deployment.name}: {deployment.entrypoint} has two deployments of this name"
        seen.add(key)


def _problems_of(deployment: Deployment) -> Iterator[str]:
    triggers = []
    for spec in deployment.triggers:
        try:
            triggers.append(trigger := _TRIGGERS.validate_python(spec))
        except ValidationError as error:
            yield from (f"triggers: {problem}" for problem in _in_words(error))
            continue
        for key in spec.keys() - type(trigger).model_fields.keys():
            yield f"triggers: {key}: unknown; expected one of {sorted(type(trigger).model_fields)}"
    try:
        flow = _load(deployment.entrypoint)
    except (ImportError, MissingFlowError, ScriptError, ValueError) as error:
        yield f"entrypoint {deployment.entrypoint!r}: does not load ({_one_line(error)})"
        return
    yield from _wrong_parameters(flow, deployment.parameters)
    for schedule in deployment.schedules:
        yield from _wrong_parameters(flow, schedule.parameters)
        yield from _missing(flow, deployment.parameters | schedule.parameters, "a schedule")
    for trigger in triggers:
        given = trigger.parameters or {}
        yield from _wrong_parameters(flow, given)
        yield from _missing(flow, deployment.parameters | given, "a trigger")


def _load(entrypoint: str) -> Flow[..., Any]:
    # Relative paths are those of the repository, from which a worker loads it.
    return load_flow_from_entrypoint(str(REPOSITORY / entrypoint), use_placeholder_flow=False)


def _wrong_parameters(flow: Flow[..., Any], given: Mapping[str, Any]) -> Iterator[str]:
    known = inspect.signature(flow.fn, eval_str=True).parameters
    for name, value in given.items():
        if name not in known:
            yield f"{name}: {flow.name} has no such parameter; expected one of {list(known)}"
        elif "{{" not in str(value):  # what an event fills in is known when it comes
            try:
                TypeAdapter(known[name].annotation).validate_python(value)
            except ValidationError as error:
                yield from (f"{name}: {problem}" for problem in _in_words(error))


def _missing(flow: Flow[..., Any], given: Mapping[str, Any], what: str) -> Iterator[str]:
    for name, parameter in inspect.signature(flow.fn).parameters.items():
        if parameter.default is parameter.empty and name not in given:
            yield f"{name}: missing; {what} cannot ask for it"


def _unset_variables(content: Any) -> set[str]:
    return set(_VARIABLE.findall(yaml.safe_dump(content)))


def _in_words(error: ValidationError) -> Iterator[str]:
    for found in error.errors():
        place = ".".join(map(str, found["loc"]))
        yield f"{place}: " * bool(place) + f"{found['msg']}, got {found['input']!r}"


def _one_line(error: Exception) -> str:
    cause = getattr(error, "user_exc", None) or error.__cause__ or error
    return " ".join(f"{type(cause).__name__}: {cause}".split())


if __name__ == "__main__":
    sys.exit(run(check))
