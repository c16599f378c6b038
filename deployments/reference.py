"""`python -m deployments.reference`: generate docs/reference.md from signatures and docstrings."""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from prefect import Flow
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from deployments.prefect_file.placeholders import read_yaml
from deployments.serve import serve
from pyfunc.cache.settings import DEFAULT_SIZE_LIMIT
from tasks.common.errors import OTHER_EXIT_CODES, MillstreamError
from tasks.common.parameter_types import FrozenModel
from tasks.common.settings import REPOSITORY, Settings, get_settings
from tasks.common.text import markdown_table
from tasks.project.project import Project, variable_of

PAGE = REPOSITORY / "docs" / "reference.md"

_HEAD = """# Reference

Made by `make docs` from the code; a test compares the two.
"""


def render_reference() -> str:
    """Return the page: flows and their parameters, deployments, variables, exit codes."""
    deployments = _read_deployments()
    entrypoints = dict.fromkeys(deployment["entrypoint"] for deployment in deployments)
    loaded: list[Flow[..., Any]] = [
        load_flow_from_entrypoint(str(REPOSITORY / entry)) for entry in sorted(entrypoints)
    ]
    parts = [
        _HEAD,
        "## Flows\n",
        *(_flow_section(flow) for flow in loaded),
        "## Online serving\n",
        _section("serve", "deployments.serve", serve),
        "## Deployments\n",
        _table(("deployment", "schedule", "parameters"), _deployment_rows(deployments)),
        "## Variables of the environment\n",
        _table(("variable", "default", "what it is"), _variable_rows()),
        "## Project file\n",
        _table(("key of millstream.toml", "variable", "what it is"), _project_rows()),
        "## Exit codes\n",
        _table(("code", "meaning"), ((str(code), text) for code, text in exit_codes().items())),
    ]
    return "\n".join(parts)


def _flow_section(flow: Flow[..., Any]) -> str:
    return _section(flow.name, f"flows.{flow.fn.__name__}", flow)


def _section(title: str, module: str, command: Flow[..., Any] | Callable[..., Any]) -> str:
    head = (inspect.getdoc(getattr(command, "fn", command)) or "").splitlines()[0]
    schema = parameter_schema(command)
    rows = [
        (
            f"`{name}`",
            _allowed_values(field),
            "*required*" if name in schema.required else f"`{_show_value(field.get('default'))}`",
            " ".join(field.get("description", "").split()),
        )
        for name, field in schema.properties.items()
    ]
    table = _table(("parameter", "values", "default", "what it is"), rows)
    return f"### {title}\n\n`python -m {module}`. {head}\n\n{table}"


def _allowed_values(field: dict[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f"`{choice}`" for choice in field["enum"])
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_allowed_values(kind) for kind in field["anyOf"]))
    if field.get("type") == "array":
        return f"list of {_allowed_values(field['items'])}"
    bounds = [
        f"{sign} {field[key]}"
        for key, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
        )
        if key in field
    ]
    words = {"null": "none", "string": "text", "boolean": "true or false"}
    kind = str(field.get("type", ""))
    return " ".join([words.get(kind, kind), ", ".join(bounds)]).strip()


def _deployment_rows(deployments: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for deployment in deployments:
        name = load_flow_from_entrypoint(str(REPOSITORY / deployment["entrypoint"])).name
        schedules = deployment.get("schedules", [])
        when = "; ".join(f"`{s['cron']}` {s['timezone']}" for s in schedules)
        triggered = "when a new champion is promoted" if deployment.get("triggers") else ""
        given = deployment.get("parameters", {}) | {
            key: value
            for schedule in schedules
            for key, value in schedule.get("parameters", {}).items()
        }
        yield (
            f"`{name}/{deployment['name']}`",
            when or triggered,
            ", ".join(f"`{key}={_show_value(value)}`" for key, value in given.items()),
        )


def _variable_rows() -> Iterator[tuple[str, ...]]:
    described = _parse_attributes(inspect.getdoc(Settings) or "")
    for name, field in Settings.model_fields.items():
        default = field.get_default()
        shown = "" if default is None else f"`{str(default).replace(f'{REPOSITORY}/', '')}`"
        # The first column has the name of the variable.
        what = re.sub(r" \(`[A-Z_]+`[^)]*\)", "", described[name])
        yield f"`{field.validation_alias}`", shown, what
    limit = f"`{DEFAULT_SIZE_LIMIT}`"
    yield "`MILLSTREAM_CACHE_SIZE_LIMIT`", limit, "Bytes of the prediction cache on disk."
    yield (
        "`MILLSTREAM_SOURCE_<NAME>`",
        "",
        "Address of a source of look-ups and deliveries; see [sources](business_logic.md#sources).",
    )
    yield "`PREFECT_HOME`", "`var/prefect`", "Prefect's own database and settings."


def _project_rows() -> Iterator[tuple[str, ...]]:
    for key, variable, what in _project_keys():
        yield f"`{key}`", f"`{variable}`", what


def project_variables() -> set[str]:
    """Return the variables that win over the keys of the project file."""
    return {variable for _, variable, _ in _project_keys()}


def _project_keys() -> Iterator[tuple[str, str, str]]:
    """Yield each key of the project file, its variable and what it is."""
    described = _parse_attributes(inspect.getdoc(Project) or "")
    for name, field in Project.model_fields.items():
        table: Any = field.annotation
        if not (inspect.isclass(table) and issubclass(table, FrozenModel)):
            yield name, variable_of(name), described[name]
            continue
        for key, what in _parse_attributes(inspect.getdoc(table) or "").items():
            yield f"{name}.{key}", variable_of(name, key), what


def _parse_attributes(docstring: str) -> dict[str, str]:
    """Return the description of each attribute in a Google-style docstring."""
    _, _, section = docstring.partition("Attributes:\n")
    entries = re.split(r"^    (\w+): ", section, flags=re.MULTILINE)[1:]
    return {
        name: " ".join(text.split()) for name, text in zip(entries[::2], entries[1::2], strict=True)
    }


def exit_codes() -> dict[int, str]:
    """Return the meaning of each exit code, from the docstrings of the errors."""
    meanings = dict(OTHER_EXIT_CODES)
    kinds = [MillstreamError]
    for kind in kinds:  # the list grows
        kinds += kind.__subclasses__()
        meanings.setdefault(kind.exit_code, _first_line(kind))
    return dict(sorted(meanings.items()))


def _first_line(kind: type[MillstreamError]) -> str:
    first = (inspect.getdoc(kind) or "").splitlines()[0].removesuffix(".")
    return first[0].lower() + first[1:]


def _read_deployments() -> list[dict[str, Any]]:
    return list(read_yaml(REPOSITORY / "prefect.yaml")["deployments"])


def _table(header: tuple[str, ...], rows: Iterable[Sequence[str]]) -> str:
    return f"{markdown_table(header, rows)}\n"


def _show_value(value: Any) -> str:
    return "none" if value is None else str(value).replace(str(get_settings().root), "var")


if __name__ == "__main__":
    PAGE.write_text(render_reference(), encoding="utf-8")
