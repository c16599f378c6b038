"""The tree of a composition: who answers a text. A node is a member's name, or an operator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

LANGUAGE = "language"


class TreeError(ValueError):
    """A tree is not one of a composition; the message begins with the keys of the fault."""


@dataclass(frozen=True, slots=True)
class Average:
    """The weighted mean of the probabilities of its parts, which have equal labels."""

    parts: tuple[Node, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Vote:
    """The label of most parts, and its mean probability; of equal counts, the likelier label."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Cascade:
    """The first part whose score is `least` or more, else the last part.

    Attributes:
        parts: The quickest first.
        least: The threshold; None before the build has chosen it.
    """

    parts: tuple[Node, ...]
    least: float | None

    @property
    def threshold(self) -> float:
        """The threshold that was chosen.

        Raises:
            TreeError: If none was.
        """
        if self.least is None:
            raise TreeError("least: auto; expected a number by now")
        return self.least


@dataclass(frozen=True, slots=True)
class Route:
    """The node for the language of a text, or for the label that another member gives it.

    Attributes:
        by: `language`, or the name of the member.
        to: A node for each of some languages or labels.
        otherwise: The node for all others.
    """

    by: str
    to: tuple[tuple[str, Node], ...]
    otherwise: Node


Node = str | Average | Vote | Cascade | Route


def placed_nodes(node: Node, place: str = "answer") -> Iterator[tuple[str, Node]]:
    """Yield a node and all below it, each with the keys that lead to it, in their order."""
    yield place, node
    if isinstance(node, Route):
        for label, part in node.to:
            yield from placed_nodes(part, f"{place}.to.{label}")
        yield from placed_nodes(node.otherwise, f"{place}.else")
    elif not isinstance(node, str):
        operator = type(node).__name__.lower()
        for number, part in enumerate(node.parts):
            yield from placed_nodes(part, f"{place}.{operator}[{number}]")


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and all below it, a part before those after it."""
    return (part for _, part in placed_nodes(node))


def transform(node: Node, change: Callable[[Node], Node]) -> Node:
    """Return a tree in which each node is what `change` returns for it, parts first."""
    if isinstance(node, Route):
        to = tuple((label, transform(part, change)) for label, part in node.to)
        node = replace(node, to=to, otherwise=transform(node.otherwise, change))
    elif not isinstance(node, str):
        node = replace(node, parts=tuple(transform(part, change) for part in node.parts))
    return change(node)


def rename_members(node: Node, names: Mapping[str, str]) -> Node:
    """Return a tree with other names of its members."""

    def rename(part: Node) -> Node:
        if isinstance(part, str):
            return names[part]
        if isinstance(part, Route) and part.by != LANGUAGE:
            return replace(part, by=names[part.by])
        return part

    return transform(node, rename)


def members_of(node: Node) -> Iterator[str]:
    """Yield the name of each member that may touch a text, as often as the tree has it."""
    for part in walk(node):
        if isinstance(part, str):
            yield part
        elif isinstance(part, Route) and part.by != LANGUAGE:
            yield part.by


def deciders_of(node: Node) -> set[str]:
    """Return the members that may decide an answer: all but those that only choose a route."""
    return {part for part in walk(node) if isinstance(part, str)}


def mixed_members(node: Node) -> set[str]:
    """Return the members whose probabilities of every label a tree needs."""
    mixes = (part for part in walk(node) if isinstance(part, Average | Vote))
    return {name for mix in mixes for name in members_of(mix)}


def routes_by_language(node: Node) -> bool:
    """Return whether the language of a text decides who answers it."""
    return any(isinstance(part, Route) and part.by == LANGUAGE for part in walk(node))


def has_open_thresholds(node: Node) -> bool:
    """Return whether the build is still to choose the threshold of a cascade."""
    return any(isinstance(part, Cascade) and part.least is None for part in walk(node))


def labels_of(
    node: Node, labels: Mapping[str, Sequence[str]], place: str = "answer"
) -> frozenset[str]:
    """Return the labels that a tree may answer with.

    Args:
        node: The tree.
        labels: Those of each member.
        place: The keys that lead to it, for errors.

    Raises:
        TreeError: If a member is unknown, parts that are mixed have different labels, or a route
            leads from a label that its member does not have.
    """
    if isinstance(node, str):
        if node not in labels:
            raise TreeError(f"{place}: {node!r}; expected one of the members {sorted(labels)}")
        return frozenset(labels[node])
    if isinstance(node, Route):
        return _labels_of_route(node, labels, place)
    name = type(node).__name__.lower()
    found = [
        labels_of(part, labels, f"{place}.{name}[{number}]")
        for number, part in enumerate(node.parts)
    ]
    for number, other in enumerate(found):
        if other != found[0]:
            raise TreeError(
                f"{place}.{name}[{number}]: the labels {sorted(other)}; expected those of the "
                f"first part, {sorted(found[0])}"
            )
    return found[0]


def _labels_of_route(
    node: Route, labels: Mapping[str, Sequence[str]], place: str
) -> frozenset[str]:
    if node.by != LANGUAGE:
        known = labels_of(node.by, labels, f"{place}.route.label_of")
        if unknown := sorted({label for label, _ in node.to} - known):
            raise TreeError(f"{place}.to: {unknown}; expected labels of {node.by}: {sorted(known)}")
    parts = [(f"{place}.to.{label}", part) for label, part in node.to]
    parts.append((f"{place}.else", node.otherwise))
    return frozenset().union(*(labels_of(part, labels, where) for where, part in parts))
