"""`python -m deployments.check_config`: validate `prefect.yaml` more strictly than Prefect does.

Prefect ignores unknown keys, accepts an entrypoint that does not load, and validates parameters
only when a run starts.
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

from deployments.command import run_command
from deployments.prefect_file.flow_parameters import (
    invalid_combinations,
    invalid_parameters,
    missing_parameters,
)
from deployments.prefect_file.placeholders import read_yaml, unresolved_placeholders
from deployments.prefect_file.schema import Deployment, PrefectFile, Schedule, validation_problems
from deployments.prefect_file.triggers import Trigger
from tasks.cluster.addresses import resolve_runner
from tasks.common.environment import check_environment
from tasks.common.errors import ParameterError
from tasks.common.settings import REPOSITORY, get_settings
from tasks.common.text import printable
from tasks.project.project import get_project, place_of

PREFECT_FILE = REPOSITORY / "prefect.yaml"


def check_config() -> None:
    """Check the variables of the environment, `prefect.yaml` and the project file; name them.

    Raises:
        ParameterError: If one is invalid.
    """
    check_environment()
    resolve_runner("")
    check_prefect_file()
    project = get_settings().project
    known = f", {project}" if project.is_file() else f"; there is no project file {project}"
    checked = f"valid: the variables of the environment, {PREFECT_FILE}{known}"
    sys.stdout.write(f"{printable(checked)}\n")


def check_prefect_file(path: Path = PREFECT_FILE) -> None:
    """Check the schedules of the project, a `prefect.yaml`, and the flows that it names.

    Raises:
        ParameterError: If one is invalid, with all problems of the file in one line.
    """
    _check_schedules()
    if found := list(find_problems(path)):
        raise ParameterError(f"{path}: {'; '.join(found)}")


def _check_schedules() -> None:
    """Check the cron lines of the project file, which `prefect.yaml` gets them from.

    Raises:
        ParameterError: If one is invalid, with the line of the project file.
    """
    schedules = get_project().schedules
    for name in ("nightly", "weekly_training"):
        given = {"cron": getattr(schedules, name), "timezone": schedules.timezone, "active": True}
        try:
            Schedule.model_validate(given)
        except ValidationError as error:
            problem = next(validation_problems(error)).removeprefix("cron: ")
            raise ParameterError(f"{place_of('schedules', name)}: {problem}") from None


def find_problems(path: Path) -> Iterator[str]:
    """Yield each problem of a `prefect.yaml` in one line."""
    try:
        content = read_yaml(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        yield f"no YAML ({' '.join(str(error).split())})"
        return
    yield from unresolved_placeholders(content)
    try:
        project = PrefectFile.model_validate(content)
    except ValidationError as error:
        yield from validation_problems(error)
        return
    seen = set()
    for deployment in project.deployments:
        for problem in _deployment_problems(deployment):
            yield f"{deployment.name}: {problem}"
        if (key := (deployment.entrypoint, deployment.name)) in seen:
            yield f"{deployment.name}: {deployment.entrypoint} has two deployments of this name"
        seen.add(key)


def _deployment_problems(deployment: Deployment) -> Iterator[str]:
    triggers = []
    for spec in deployment.triggers:
        try:
            triggers.append(trigger := Trigger(spec))
        except ValidationError as error:
            yield from (f"triggers: {problem}" for problem in validation_problems(error))
            continue
        yield from (f"triggers: {problem}" for problem in trigger.problems)
    try:
        # A worker loads it relative to the repository.
        entrypoint = str(REPOSITORY / deployment.entrypoint)
        flow: Flow[..., Any] = load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
    except (ImportError, MissingFlowError, ScriptError, ValueError) as error:
        yield f"entrypoint {deployment.entrypoint!r}: does not load ({_one_line(error)})"
        return
    yield from _parameter_problems(flow, deployment.parameters, "")
    for schedule in deployment.schedules:
        given = deployment.parameters | schedule.parameters
        yield from _parameter_problems(flow, given, "a schedule")
    for trigger in triggers:
        given = deployment.parameters | trigger.parameters
        yield from _parameter_problems(flow, given, "a trigger")


def _parameter_problems(flow: Flow[..., Any], given: Mapping[str, Any], what: str) -> Iterator[str]:
    """Yield the problems of the parameters of runs started by `what`, or by a form if empty."""
    wrong = list(invalid_parameters(flow, given))
    yield from wrong
    if what:
        yield from missing_parameters(flow, given, what)
    if not wrong:
        yield from invalid_combinations(flow, given)


def _one_line(error: Exception) -> str:
    cause = getattr(error, "user_exc", None) or error.__cause__ or error
    return " ".join(f"{type(cause).__name__}: {cause}".split())


if __name__ == "__main__":
    sys.exit(run_command(check_config))
