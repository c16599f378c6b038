"""`python -m deployments.check_config`: refuse what Prefect would take in part from `prefect.yaml`.

Prefect ignores keys that it does not know, takes an entrypoint that does not load, and looks at the
parameters when a run starts, which for a schedule is at night.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from prefect import Flow
from prefect.exceptions import MissingFlowError, ScriptError
from prefect.flows import load_flow_from_entrypoint
from pydantic import ValidationError

from deployments.command import run
from deployments.project.flow_parameters import missing_parameters, wrong_parameters, wrong_together
from deployments.project.placeholders import read, unfilled
from deployments.project.schema import Deployment, ProjectFile, validation_problems
from deployments.project.triggers import Trigger
from tasks.common.errors import ParameterError
from tasks.common.settings import REPOSITORY

PROJECT_FILE = REPOSITORY / "prefect.yaml"


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
        content = read(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        yield f"no YAML ({' '.join(str(error).split())})"
        return
    yield from unfilled(content)
    try:
        project = ProjectFile.model_validate(content)
    except ValidationError as error:
        yield from validation_problems(error)
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
            triggers.append(trigger := Trigger(spec))
        except ValidationError as error:
            yield from (f"triggers: {problem}" for problem in validation_problems(error))
            continue
        yield from (f"triggers: {problem}" for problem in trigger.problems)
    try:
        flow = _load(deployment.entrypoint)
    except (ImportError, MissingFlowError, ScriptError, ValueError) as error:
        yield f"entrypoint {deployment.entrypoint!r}: does not load ({_one_line(error)})"
        return
    yield from _problems_of_runs(flow, deployment.parameters, "")
    for schedule in deployment.schedules:
        given = deployment.parameters | schedule.parameters
        yield from _problems_of_runs(flow, given, "a schedule")
    for trigger in triggers:
        yield from _problems_of_runs(flow, deployment.parameters | trigger.parameters, "a trigger")


def _problems_of_runs(flow: Flow[..., Any], given: Mapping[str, Any], what: str) -> Iterator[str]:
    """Yield what is wrong with the parameters of runs that `what` starts, or else a form."""
    wrong = list(wrong_parameters(flow, given))
    yield from wrong
    if what:
        yield from missing_parameters(flow, given, what)
    if not wrong:
        yield from wrong_together(flow, given)


def _load(entrypoint: str) -> Flow[..., Any]:
    # Relative paths are those of the repository, from which a worker loads it.
    return load_flow_from_entrypoint(str(REPOSITORY / entrypoint), use_placeholder_flow=False)


def _one_line(error: Exception) -> str:
    cause = getattr(error, "user_exc", None) or error.__cause__ or error
    return " ".join(f"{type(cause).__name__}: {cause}".split())


if __name__ == "__main__":
    sys.exit(run(check))
