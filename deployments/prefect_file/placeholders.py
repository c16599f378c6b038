"""Read `prefect.yaml`, reject duplicate keys, and resolve `{{ $VARIABLE }}` placeholders.

`{{ $PROJECT_… }}` is a value of the project file; as an item of a list, one that is a list adds all
of its items.

Prefect drops a parameter whose placeholder it cannot resolve. Placeholders of Prefect's own
variables and blocks cannot be checked without a server, so they are problems too; templates in the
parameters of a trigger are checked in `deployments.prefect_file.triggers`.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from prefect.utilities.templating import apply_values

from tasks.common.environment import environment_with
from tasks.project.project import get_project
from tasks.tracking.names import PIPELINE_MODEL

_VARIABLE = re.compile(r"\{\{\s*\$(\w+)\s*\}\}")
_TRIGGER_PARAMETER = re.compile(r"deployments\.\d+\.triggers\.\d+\.parameters\.")


class _UniqueKeyLoader(yaml.SafeLoader):
    """A loader that rejects duplicate keys, where YAML's own takes the last value."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.composer.ComposerError(
                    None, None, f"the key {key.value!r} is there twice", key.start_mark
                )
            seen.add(str(key.value))
        return node


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file, with variables of the environment and project substituted.

    Raises:
        OSError: If it cannot be read.
        UnicodeDecodeError: If it is not UTF-8.
        yaml.YAMLError: If it is no YAML, or has a duplicate key.
    """
    loader = _UniqueKeyLoader(path.read_text(encoding="utf-8"))
    try:
        return _substitute(loader.get_single_data(), _variables())
    finally:
        loader.dispose()


def unresolved_placeholders(content: Any, path: str = "") -> Iterator[str]:
    """Yield a line for each placeholder that Prefect would drop, with its path in the file."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from unresolved_placeholders(value, f"{path}.{key}".lstrip("."))
    elif isinstance(content, list):
        for number, item in enumerate(content):
            yield from unresolved_placeholders(item, f"{path}.{number}")
    elif isinstance(content, str) and "{{" in content:
        yield from _placeholder_problems(content, path)


def _placeholder_problems(text: str, path: str) -> Iterator[str]:
    if missing := _VARIABLE.findall(text):
        yield from (f"{path}: variable {name} is not set" for name in missing)
    elif not _TRIGGER_PARAMETER.match(path):
        yield f"{path}: {text!r}; expected {{{{ $VARIABLE }}}} of the environment, or no braces"
    elif re.search(r"\.\d+$", path) and not apply_values([text], {}):
        yield f"{path}: {text!r}; Prefect drops it from a list, expected a filter as in | string"


def _variables() -> dict[str, Any]:
    project = get_project()
    return environment_with({}) | {
        "PROJECT_INPUTS": list(project.inputs),
        "PROJECT_OUTPUT": str(project.output_folder),
        "PROJECT_PIPELINE_MODEL": PIPELINE_MODEL,
        "PROJECT_NIGHTLY": project.schedules.nightly,
        "PROJECT_WEEKLY_TRAINING": project.schedules.weekly_training,
        "PROJECT_TIMEZONE": project.schedules.timezone,
    }


def _substitute(content: Any, variables: Mapping[str, Any]) -> Any:
    # Prefect's apply_values would drop unresolved placeholders, which are to be reported.
    if isinstance(content, dict):
        return {key: _substitute(value, variables) for key, value in content.items()}
    if isinstance(content, list):
        return [new for item in content for new in _substitute_item(item, variables)]
    if isinstance(content, str):
        return _VARIABLE.sub(lambda found: str(variables.get(found[1], found[0])), content)
    return content


def _substitute_item(item: Any, variables: Mapping[str, Any]) -> list[Any]:
    whole = _VARIABLE.fullmatch(item) if isinstance(item, str) else None
    if whole and isinstance(value := variables.get(whole[1]), list):
        return value
    return [_substitute(item, variables)]
