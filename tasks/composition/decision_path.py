"""The path of an answer through the tree of its pipeline, in words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from pyfunc.composition.tree import LANGUAGE, Cascade, Node, Route, members_of

_MOST_PATHS = 10_000  # of nested cascades of averages


@dataclass(frozen=True, slots=True)
class Decided:
    """What is known of an answer.

    Attributes:
        label: Its label.
        score: Its score.
        decided_by: The member that decided.
        members: Label and score by each member that saw the text.
        language: The code of the text's language.
    """

    label: str
    score: float
    decided_by: str
    members: Mapping[str, tuple[str, float]]
    language: str


@dataclass(frozen=True, slots=True)
class _Path:
    """A way to a part of the tree that may have answered.

    Attributes:
        part: A member, an average or a vote.
        seen_by: The members that may have seen the text on this way.
        steps: What led to it, in words.
        least: The score that the cascades around it need of it.
    """

    part: Node
    seen_by: frozenset[str]
    steps: tuple[str, ...] = ()
    least: float = 0.0


def describe_path(tree: Node, decided: Decided) -> str:
    """Return the path of an answer, such as `route by kind (imdb 0.98) → film → good 0.91`.

    An answer does not have the score of an average or a vote that a cascade did not trust. Which
    part answered follows from the members that saw the text, and from who decided. If two of the
    same members could have, the first is named.

    Args:
        tree: The tree of the pipeline that answered.
        decided: The answer.

    Returns:
        An empty string if this tree cannot have given the answer.
    """
    paths = islice(_paths(tree, decided), _MOST_PATHS)
    fitting = [path for path in paths if _is_that_of(path, decided)]
    if not fitting:
        return ""
    # That of a single member first: its score is that of the answer to the last digit.
    path = min(fitting, key=lambda path: not isinstance(path.part, str))
    return " → ".join([*path.steps, _describe(path.part), _words(decided.label, decided.score)])


def _paths(node: Node, decided: Decided) -> Iterator[_Path]:
    if isinstance(node, Route):
        yield from _paths_of_route(node, decided)
    elif isinstance(node, Cascade):
        yield from _paths_of_cascade(node.parts, node.threshold, decided)
    elif not isinstance(node, str) or node in decided.members:
        yield _Path(node, frozenset(members_of(node)))


def _paths_of_route(node: Route, decided: Decided) -> Iterator[_Path]:
    if node.by == LANGUAGE:
        key = shown = decided.language
    elif node.by in decided.members:
        key, score = decided.members[node.by]
        shown = _words(key, score)
    else:
        return
    step, seen_by = f"route by {node.by} ({shown})", frozenset([node.by])
    for path in _paths(dict(node.to).get(key, node.otherwise), decided):
        yield replace(path, steps=(step, *path.steps), seen_by=path.seen_by | seen_by)


def _paths_of_cascade(parts: Sequence[Node], least: float, decided: Decided) -> Iterator[_Path]:
    first, *rest = parts
    for path in _paths(first, decided):
        if not rest:
            yield path
            continue
        known = decided.members[path.part] if isinstance(path.part, str) else None
        if known is None or known[1] >= least:
            yield replace(path, least=max(path.least, least))
        if known is None or known[1] < least:
            found = f"{_words(*known)}, below" if known else "below"
            step = f"{_describe(path.part)} ({found} {least:g})"
            for later in _paths_of_cascade(rest, least, decided):
                yield replace(
                    later,
                    steps=(*path.steps, step, *later.steps),
                    seen_by=path.seen_by | later.seen_by,
                )


def _is_that_of(path: _Path, decided: Decided) -> bool:
    if not path.seen_by >= set(decided.members):
        return False
    if isinstance(path.part, str):
        answer = (decided.label, decided.score)
        return path.part == decided.decided_by and decided.members[path.part] == answer
    return decided.decided_by in members_of(path.part) and decided.score >= path.least


def _describe(node: Node) -> str:
    if isinstance(node, str):
        return node
    if isinstance(node, Route):
        return f"route by {node.by}"
    names = (part if isinstance(part, str) else f"({_describe(part)})" for part in node.parts)
    return f"{type(node).__name__.lower()} of {', '.join(names)}"


def _words(label: str, score: float) -> str:
    return f"{label} {score:.2f}"
