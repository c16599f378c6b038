"""Read a YAML file as YAML 1.2 has it, for what is written by hand."""

import re
from pathlib import Path
from typing import Any

import yaml

from tasks.common.errors import ParameterError

_MAX_BYTES = 64 * 1024

# Those of the schema of JSON in YAML 1.2: https://yaml.org/spec/1.2.2/#1022-tag-resolution
_PLAIN_VALUES = {
    "null": (r"null|Null|NULL|~|", ["n", "N", "~", ""]),
    "bool": (r"true|false", ["t", "f"]),
    "int": (r"-?(?:0|[1-9][0-9]*)", list("-0123456789")),
    "float": (
        r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|-?\.[0-9]+",
        list("-0123456789."),
    ),
}


class _Loader(yaml.SafeLoader):
    """YAML 1.2 with keys as they are written, each once, and without aliases.

    PyYAML reads YAML 1.1, where `010` is 8, `1_0` is 10 and `no` a bool; the last is a language or
    a label here, and the others may be versions. An alias may contain itself.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 -- as its base declares it

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(
                None, None, f"*{event.anchor}: expected no alias", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key is a list or has keys itself", key.start_mark
                )
            if key.value in found:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is there twice", key.start_mark
                )
            found[key.value] = self.construct_object(value, deep=True)
        return found


for _type, (_pattern, _first) in _PLAIN_VALUES.items():
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_type}", re.compile(f"(?:{_pattern})\\Z"), _first
    )


def load_yaml(path: Path) -> Any:
    """Return the content of a composition file.

    Args:
        path: A YAML file of 64 KiB at most.

    Raises:
        ParameterError: If it is missing, too large or no YAML; with the file and the line.
    """
    try:
        if not (path.is_file() or path.is_dir()) and path.exists():  # a pipe can be read once
            raise ParameterError(f"{path}: no regular file; expected a composition file in YAML")
        if path.stat().st_size > _MAX_BYTES:
            raise ParameterError(f"{path}: larger than {_MAX_BYTES} bytes; expected a composition")
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 -- a SafeLoader
    except OSError as error:
        reason = error.strerror or error
        raise ParameterError(f"{path}: {reason}; expected a composition file in YAML") from error
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        reason = ", ".join(filter(None, (error.context, error.problem)))
        raise ParameterError(f"{path}: {line}{reason}; expected a composition") from error
    # The last three: a SafeLoader raises them for a value that is none of its type, as `!!int x`.
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ParameterError(f"{path}: no YAML ({reason}); expected a composition") from error
