"""The tree of a composition in JSON and YAML.

film
{average: [film, long], weights: [1, 2]}
{vote: [film, long, quick]}
{cascade: [quick, film], least: 0.7}              or, in a composition file: least: auto
{route: {label_of: kind}, to: {imdb: film}, else: quick}      or: {route: language, …}
"""

from collections.abc import Mapping, Sequence
from typing import Any

from .tree import LANGUAGE, Average, Cascade, Node, Route, TreeError, Vote

AUTO = "auto"

MAX_DEPTH = 16

_MAX_WEIGHT = 1e6

# The keys that an operator needs, and those that it may have.
_KEYS: Mapping[str, tuple[set[str], set[str]]] = {
    "average": ({"average"}, {"weights"}),
    "vote": ({"vote"}, set()),
    "cascade": ({"cascade", "least"}, set()),
    "route": ({"route", "to", "else"}, set()),
}


def parse_tree(value: Any, place: str = "answer", depth: int = 0) -> Node:
    """Return the tree that JSON or YAML has.

    Args:
        value: A name, or a mapping with the keys of one operator.
        place: The keys that lead to it, for errors.
        depth: Operators around it.

    Raises:
        TreeError: If it is something else, or nested in more than `MAX_DEPTH` operators.
    """
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping):
        raise TreeError(f"{place}: {value!r}; expected the name of a member, or an operator")
    if depth == MAX_DEPTH:
        raise TreeError(f"{place}: more than {MAX_DEPTH} operators around it; expected fewer")
    operator = _operator_of(value, place)
    if operator == "route":
        return _parse_route(value, place, depth)
    parts = _parse_parts(value[operator], f"{place}.{operator}", depth)
    if operator == "average":
        given = value.get("weights", [1] * len(parts))
        return Average(parts, _parse_weights(given, len(parts), f"{place}.weights"))
    if operator == "vote":
        return Vote(parts)
    return Cascade(parts, _parse_threshold(value["least"], f"{place}.least"))


def _operator_of(value: Mapping[str, Any], place: str) -> str:
    """Return the operator of a node, which has the keys of that one alone."""
    named = [name for name in _KEYS if name in value]
    if len(named) != 1:
        keys = sorted(map(str, value))
        raise TreeError(f"{place}: the keys {keys}; expected one operator: {', '.join(_KEYS)}")
    needed, optional = _KEYS[named[0]]
    if unknown := sorted(map(str, value.keys() - needed - optional)):
        raise TreeError(
            f"{place}.{unknown[0]}: unknown key; expected of {named[0]}: "
            f"{', '.join(sorted(needed | optional))}"
        )
    if missing := sorted(needed - value.keys()):
        raise TreeError(f"{place}.{missing[0]}: missing; expected it beside {named[0]}")
    return named[0]


def to_json(node: Node) -> Any:
    """Return a tree as `parse_tree` reads it."""
    if isinstance(node, str):
        return node
    if isinstance(node, Average):
        return {"average": list(map(to_json, node.parts)), "weights": list(node.weights)}
    if isinstance(node, Vote):
        return {"vote": list(map(to_json, node.parts))}
    if isinstance(node, Cascade):
        return {
            "cascade": list(map(to_json, node.parts)),
            "least": AUTO if node.least is None else node.least,
        }
    by = LANGUAGE if node.by == LANGUAGE else {"label_of": node.by}
    to = {label: to_json(part) for label, part in node.to}
    return {"route": by, "to": to, "else": to_json(node.otherwise)}


def _parse_parts(value: Any, place: str, depth: int) -> tuple[Node, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) < 2:
        raise TreeError(f"{place}: {value!r}; expected a list of two or more")
    return tuple(
        parse_tree(part, f"{place}[{number}]", depth + 1) for number, part in enumerate(value)
    )


def _parse_weights(value: Any, count: int, place: str) -> tuple[float, ...]:
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    if not is_list or len(value) != count or not all(map(_is_weight, value)):
        raise TreeError(f"{place}: {value!r}; expected {count} numbers above 0, up to 1000000")
    return tuple(map(float, value))


def _is_weight(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value <= _MAX_WEIGHT


def _parse_threshold(value: Any, place: str) -> float | None:
    if value == AUTO:
        return None
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise TreeError(f"{place}: {value!r}; expected a number between 0 and 1, or auto")
    return float(value)


def _parse_route(value: Mapping[str, Any], place: str, depth: int) -> Route:
    given, to = value["route"], value["to"]
    is_member = isinstance(given, Mapping) and set(given) == {"label_of"}
    by = given["label_of"] if is_member else given
    if not isinstance(by, str) or (by == LANGUAGE) == is_member:
        raise TreeError(f"{place}.route: {given!r}; expected language, or label_of and a member")
    if not isinstance(to, Mapping) or not to or not all(isinstance(key, str) for key in to):
        raise TreeError(f"{place}.to: {to!r}; expected a node for one label or language, or more")
    parts = tuple(
        (key, parse_tree(part, f"{place}.to.{key}", depth + 1)) for key, part in to.items()
    )
    return Route(by, parts, parse_tree(value["else"], f"{place}.else", depth + 1))
