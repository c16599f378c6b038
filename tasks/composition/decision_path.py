"""The path of an answer through the tree of its pipeline, in words."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, repeat

from pyfunc.composition.tree import LANGUAGE, Average, Cascade, Node, Route, Vote, members_of
from tasks.composition.known_answers import Decided, known_answer, target_of

_MOST_PATHS = 10_000  # of nested cascades of averages


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

    An average has the weight of each part, a vote the votes of each label, a cascade the threshold
    that its scores were compared with. Which part answered follows from the members that saw the
    text, and from who decided. If two of the same members could have, the first is named.

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
    answer = _words(decided.label, decided.score)
    return " → ".join([*path.steps, _describe_end(path, decided), answer])


def _paths(node: Node, decided: Decided) -> Iterator[_Path]:
    if isinstance(node, Route):
        yield from _paths_of_route(node, decided)
    elif isinstance(node, Cascade):
        yield from _paths_of_cascade(node.parts, node.threshold, decided)
    elif not isinstance(node, str) or node in decided.members:
        yield _Path(node, frozenset(members_of(node)))


def _paths_of_route(node: Route, decided: Decided) -> Iterator[_Path]:
    target = target_of(node, decided)
    if target is None:
        return
    step, seen_by = _describe(node, decided), frozenset([node.by])
    for path in _paths(target, decided):
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
            answer = known_answer(path.part, decided)
            found = f"{_words(*answer)}, below" if answer else "below"
            step = f"{_describe_end(path, decided)} ({found} {least:g})"
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


def _describe_end(path: _Path, decided: Decided) -> str:
    trusted = f" ({path.least:g} or more)" if path.least else ""
    return f"{_describe(path.part, decided)}{trusted}"


def _describe(node: Node, decided: Decided) -> str:
    if isinstance(node, str):
        return node
    if isinstance(node, Route):
        return _describe_route(node, decided)
    facts = [""] * len(node.parts)
    if isinstance(node, Average):
        facts = [f"weight {weight:g}" for weight in node.weights]
    described = map(_describe_part, node.parts, facts, repeat(decided))
    parts = f"{type(node).__name__.lower()} of {', '.join(described)}"
    if isinstance(node, Cascade):
        return f"{parts}, least {node.threshold:g}"
    return f"{parts}{_describe_votes(node, decided)}"


def _describe_route(node: Route, decided: Decided) -> str:
    if node.by == LANGUAGE:
        return f"route by language ({decided.language})"
    answer = decided.members.get(node.by)
    return f"route by {node.by} ({_words(*answer)})" if answer else f"route by {node.by}"


def _describe_part(part: Node, fact: str, decided: Decided) -> str:
    name = part if isinstance(part, str) else f"({_describe(part, decided)})"
    answer = known_answer(part, decided)
    facts = ", ".join(filter(None, (_words(*answer) if answer else "", fact)))
    return f"{name} ({facts})" if facts else name


def _describe_votes(node: Average | Vote, decided: Decided) -> str:
    answers = [known_answer(part, decided) for part in node.parts]
    if isinstance(node, Average) or None in answers:
        return ""
    votes = Counter(answer[0] for answer in answers if answer is not None)
    return f": {', '.join(f'{count} {label}' for label, count in votes.most_common())}"


def _words(label: str, score: float) -> str:
    return f"{label} {score:.2f}"
