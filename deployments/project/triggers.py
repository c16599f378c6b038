"""The triggers of `prefect.yaml`: what Prefect would ignore in them, or fill in with nothing."""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

from jinja2 import StrictUndefined, TemplateError, meta
from prefect.events import DeploymentTriggerTypes
from prefect.server.events.jinja_filters import all_filters
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.server.utilities.user_templates import UserTemplateEnvironment, maybe_template
from prefect.types._datetime import now
from pydantic import BaseModel, TypeAdapter, ValidationError

from deployments.project.schema import JobVariables, validation_problems
from tasks.building.types import PROMOTED, champion_resource

_TYPES: TypeAdapter[Any] = TypeAdapter(DeploymentTriggerTypes)

# What a template may name: `JinjaTemplateAction`, prefect/server/events/actions.py, 3.8.
_NAMES = frozenset(
    {"automation", "event", "events", "firing", "firings", "labels", "variables", "range"}
    | {"deployment", "flow", "flow_run", "task_run"}
    | {"work_pool", "work_queue", "concurrency_limit"}
)


class Trigger:
    """A trigger that Prefect takes.

    Attributes:
        problems: What Prefect would not tell of.
        parameters: Those of the run that it starts; if it waits for a new champion, filled in with
            such an event.
    """

    def __init__(self, spec: Mapping[str, Any]) -> None:
        """Take the part of a file that describes one.

        Raises:
            ValidationError: If Prefect refuses it.
        """
        trigger = _TYPES.validate_python(spec)
        promoted = getattr(trigger, "expect", None) == {PROMOTED}
        self._event = _promotion() if promoted else None
        self.problems = [
            *_unknown_keys(spec, trigger),
            *_wrong_job_variables(trigger.job_variables or {}),
            *self._wrong_event(trigger),
        ]
        self.parameters = {
            name: self._filled_in(value, name) for name, value in (trigger.parameters or {}).items()
        }

    def _wrong_event(self, trigger: Any) -> Iterator[str]:
        for name in sorted(getattr(trigger, "expect", ())):
            if name.startswith("millstream.") and not name.endswith("*") and name != PROMOTED:
                yield f"expect: {name!r}; expected one of {[PROMOTED]}"
        if self._event:
            labels = sorted(self._event.resource.root)
            for label in sorted(trigger.match.root.keys() - set(labels)):
                yield f"match: {label!r}; expected one of {labels}"

    def _filled_in(self, value: Any, place: str) -> Any:
        if isinstance(value, dict):
            return {key: self._filled_in(item, f"{place}.{key}") for key, item in value.items()}
        if isinstance(value, list):
            return [self._filled_in(item, f"{place}.{n}") for n, item in enumerate(value)]
        if not isinstance(value, str) or not maybe_template(value):
            return value
        try:
            return self._rendered(value)
        except (TemplateError, TypeError) as error:  # the latter: no JSON, to Prefect either
            self.problems.append(f"parameters.{place}: {value!r}; {' '.join(str(error).split())}")
            return value

    def _rendered(self, template: str) -> Any:
        """Return what a template gives, or the template if that is known when the event comes."""
        environment = _environment()
        names = meta.find_undeclared_variables(environment.parse(template))
        if unknown := sorted(names - _NAMES):
            raise TemplateError(f"{unknown[0]!r} is undefined; expected one of {sorted(_NAMES)}")
        if self._event is None or not names <= {"event"}:
            environment.from_string(template)
            return template
        rendered = environment.from_string(template).render(event=self._event)
        if template.count("{{") > 1 or not (template.startswith("{{") and template.endswith("}}")):
            return rendered
        # A template of one expression keeps the type of its value.
        typed = environment.from_string("{{ (" + template[2:-2] + ") | tojson }}")
        return json.loads(typed.render(event=self._event))


def _environment() -> UserTemplateEnvironment:
    """Return Prefect's own, but for what is undefined: that it renders as an empty string."""
    environment = UserTemplateEnvironment(
        undefined=StrictUndefined, extensions=["jinja2_humanize_extension.HumanizeExtension"]
    )
    environment.filters.update(all_filters)
    return environment


def _promotion() -> ReceivedEvent:
    resource = champion_resource("inference_pipeline_model", 1, "an example")
    return ReceivedEvent(id=uuid4(), occurred=now("UTC"), event=PROMOTED, resource=resource)


def _unknown_keys(spec: Mapping[str, Any], model: BaseModel, place: str = "") -> Iterator[str]:
    known = sorted(type(model).model_fields)
    for key, value in spec.items():
        if key not in known:
            yield f"{place}{key}: unknown; expected one of {known}"
        elif isinstance(value, list):
            for number, (part, taken) in enumerate(zip(value, _parts(model, key), strict=False)):
                if isinstance(part, dict) and isinstance(taken, BaseModel):
                    yield from _unknown_keys(part, taken, f"{place}{key}.{number}.")


def _parts(model: BaseModel, key: str) -> list[Any]:
    taken = getattr(model, key)
    return taken if isinstance(taken, list) else []


def _wrong_job_variables(variables: Mapping[str, Any]) -> Iterator[str]:
    try:
        JobVariables.model_validate(variables)
    except ValidationError as error:
        yield from (f"job_variables: {problem}" for problem in validation_problems(error))
