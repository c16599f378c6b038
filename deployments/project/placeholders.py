"""`prefect.yaml` as it is read: no key twice, and `{{ $VARIABLE }}` filled in as Prefect does.

Of the other placeholders, Prefect leaves out those that it cannot resolve, and with them the whole
parameter. A variable or block of its own is known to the server alone, so that none can be checked;
an event's fields, in the parameters of a trigger, are for `deployments.project.triggers`.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from prefect.utilities.templating import apply_values

from tasks.common.environment import environment_with

_VARIABLE = re.compile(r"\{\{\s*\$(\w+)\s*\}\}")
_OF_A_TRIGGER = re.compile(r"deployments\.\d+\.triggers\.\d+\.parameters\.")


class _Loader(yaml.SafeLoader):
    """Of two values of a key, YAML's own loader takes the last."""

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


def read(path: Path) -> Any:
    """Return the content of a YAML file, with variables of the environment filled in.

    Raises:
        OSError: If it cannot be read.
        UnicodeDecodeError: If it is not UTF-8.
        yaml.YAMLError: If it is no YAML, or has a key twice.
    """
    loader = _Loader(path.read_text(encoding="utf-8"))
    try:
        return _filled_in(loader.get_single_data(), environment_with({}))
    finally:
        loader.dispose()


def unfilled(content: Any, place: str = "") -> Iterator[str]:
    """Yield each placeholder that Prefect would leave out, with its place, in words."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from unfilled(value, f"{place}.{key}".lstrip("."))
    elif isinstance(content, list):
        for number, item in enumerate(content):
            yield from unfilled(item, f"{place}.{number}")
    elif isinstance(content, str) and "{{" in content:
        yield from _wrong_with(content, place)


def _wrong_with(text: str, place: str) -> Iterator[str]:
    if missing := _VARIABLE.findall(text):
        yield from (f"{place}: variable {name} is not set" for name in missing)
    elif not _OF_A_TRIGGER.match(place):
        yield f"{place}: {text!r}; expected {{{{ $VARIABLE }}}} of the environment, or no braces"
    elif re.search(r"\.\d+$", place) and not apply_values([text], {}):
        yield f"{place}: {text!r}; Prefect drops it from a list, expected a filter as in | string"


def _filled_in(content: Any, variables: Mapping[str, str]) -> Any:
    # apply_values would leave out the others, which are to be told.
    if isinstance(content, dict):
        return {key: _filled_in(value, variables) for key, value in content.items()}
    if isinstance(content, list):
        return [_filled_in(item, variables) for item in content]
    if isinstance(content, str):
        return _VARIABLE.sub(lambda found: variables.get(found[1], found[0]), content)
    return content
