"""Validate triggers in `prefect.yaml`: unknown keys, events, and templates of parameters."""

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

from deployments.prefect_file.schema import JobVariables, validation_problems
from tasks.promotion.types import PROMOTED, champion_resource
from tasks.tracking.names import PIPELINE_MODEL

_TYPES: TypeAdapter[Any] = TypeAdapter(DeploymentTriggerTypes)

# Variables of a template: `JinjaTemplateAction`, prefect/server/events/actions.py, 3.8.
_TEMPLATE_NAMES = frozenset(
    {"automation", "event", "events", "firing", "firings", "labels", "variables", "range"}
    | {"deployment", "flow", "flow_run", "task_run"}
    | {"work_pool", "work_queue", "concurrency_limit"}
)


class Trigger:
    """A trigger that Prefect accepts.

    Attributes:
        problems: Errors that Prefect does not report, a line each.
        parameters: Those of the run that it starts; for a trigger on a new champion, rendered
            with an example event.
    """

    def __init__(self, spec: Mapping[str, Any]) -> None:
        """Validate the entry of a trigger in the file.

        Raises:
            ValidationError: If Prefect refuses it.
        """
        trigger = _TYPES.validate_python(spec)
        promoted = getattr(trigger, "expect", None) == {PROMOTED}
        self._event = _example_promotion() if promoted else None
        self.problems = [
            *_unknown_keys(spec, trigger),
            *_job_variable_problems(trigger.job_variables or {}),
            *self._event_problems(trigger),
        ]
        self.parameters = {
            name: self._render(value, name) for name, value in (trigger.parameters or {}).items()
        }

    def _event_problems(self, trigger: Any) -> Iterator[str]:
        for name in sorted(getattr(trigger, "expect", ())):
            if name.startswith("millstream.") and not name.endswith("*") and name != PROMOTED:
                yield f"expect: {name!r}; expected one of {[PROMOTED]}"
        if self._event:
            labels = sorted(self._event.resource.root)
            for label in sorted(trigger.match.root.keys() - set(labels)):
                yield f"match: {label!r}; expected one of {labels}"

    def _render(self, value: Any, path: str) -> Any:
        if isinstance(value, dict):
            return {key: self._render(item, f"{path}.{key}") for key, item in value.items()}
        if isinstance(value, list):
            return [self._render(item, f"{path}.{n}") for n, item in enumerate(value)]
        if not isinstance(value, str) or not maybe_template(value):
            return value
        try:
            return self._render_template(value)
        except (TemplateError, TypeError) as error:  # TypeError: no JSON, as for Prefect
            self.problems.append(f"parameters.{path}: {value!r}; {' '.join(str(error).split())}")
            return value

    def _render_template(self, template: str) -> Any:
        """Return the rendered template, or the template itself if it needs the real event."""
        environment = _environment()
        names = meta.find_undeclared_variables(environment.parse(template))
        if unknown := sorted(names - _TEMPLATE_NAMES):
            known = sorted(_TEMPLATE_NAMES)
            raise TemplateError(f"{unknown[0]!r} is undefined; expected one of {known}")
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
    """Return Prefect's template environment; undefined names raise instead of rendering empty."""
    environment = UserTemplateEnvironment(
        undefined=StrictUndefined, extensions=["jinja2_humanize_extension.HumanizeExtension"]
    )
    environment.filters.update(all_filters)
    return environment


def _example_promotion() -> ReceivedEvent:
    resource = champion_resource(PIPELINE_MODEL, 1, "an example")
    return ReceivedEvent(id=uuid4(), occurred=now("UTC"), event=PROMOTED, resource=resource)


def _unknown_keys(spec: Mapping[str, Any], model: BaseModel, path: str = "") -> Iterator[str]:
    known = sorted(type(model).model_fields)
    for key, value in spec.items():
        if key not in known:
            yield f"{path}{key}: unknown; expected one of {known}"
        elif isinstance(value, list) and isinstance(items := getattr(model, key), list):
            for number, (part, parsed) in enumerate(zip(value, items, strict=False)):
                if isinstance(part, dict) and isinstance(parsed, BaseModel):
                    yield from _unknown_keys(part, parsed, f"{path}{key}.{number}.")


def _job_variable_problems(variables: Mapping[str, Any]) -> Iterator[str]:
    try:
        JobVariables.model_validate(variables)
    except ValidationError as error:
        yield from (f"job_variables: {problem}" for problem in validation_problems(error))
