"""What the tree of a composition file may be, beyond what a pipeline can read.

The build makes trees that are refused here: a threshold that it chooses may be 0 or 1.
"""

from collections.abc import Collection
from dataclasses import replace

from pyfunc.composition.tree import (
    LANGUAGE,
    Cascade,
    Node,
    Route,
    TreeError,
    placed_nodes,
    transform,
)
from pyfunc.detectors.codes import canonical

_ONCE = {
    "average": "expected each part once, and weights for one that counts more",
    "vote": "expected each part once",
    "cascade": "expected each part once",
}


def check_operators(answer: Node) -> None:
    """Check that each operator has its parts once, and each cascade a threshold that can be met.

    Raises:
        TreeError: If one does not, with its place.
    """
    for place, node in placed_nodes(answer):
        if isinstance(node, str | Route):
            continue
        operator = type(node).__name__.lower()
        for number, part in enumerate(node.parts):
            if part in node.parts[:number]:
                shown = repr(part) if isinstance(part, str) else "an equal operator"
                raise TreeError(f"{place}.{operator}[{number}]: {shown} again; {_ONCE[operator]}")
        if isinstance(node, Cascade) and node.least in (0, 1):
            raise TreeError(
                f"{place}.least: {node.least:g}; expected a number between 0 and 1, or auto"
            )


def check_languages(answer: Node, detector: str, languages: Collection[str]) -> None:
    """Check that a detector reports the languages of routes, and that each has them once.

    Args:
        answer: The tree.
        detector: The name of the detector, for the error.
        languages: What it reports.

    Raises:
        TreeError: If not, with the place.
    """
    for place, node in placed_nodes(answer):
        if not isinstance(node, Route) or node.by != LANGUAGE:
            continue
        written: dict[str, str] = {}
        for language, _ in node.to:
            other = written.setdefault(canonical(language), language)
            if other != language:
                raise TreeError(
                    f"{place}.to: {other!r} and {language!r} are one language; expected one of them"
                )
        if unknown := sorted(own for code, own in written.items() if code not in languages):
            raise TreeError(
                f"{place}.to: {unknown}; expected languages that {detector} reports, of: "
                f"{' '.join(sorted(languages))}"
            )


def with_one_spelling(answer: Node) -> Node:
    """Return a tree whose routes have languages in the spelling that detectors report."""

    def spell(node: Node) -> Node:
        if not isinstance(node, Route) or node.by != LANGUAGE:
            return node
        return replace(node, to=tuple((canonical(code), part) for code, part in node.to))

    return transform(answer, spell)
