"""The path of an answer is that of an evaluation that writes down its steps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from pyfunc.bisection import Failure
from pyfunc.composition.evaluation import Decision, Evaluation
from pyfunc.composition.tree import (
    LANGUAGE,
    Average,
    Cascade,
    Node,
    Route,
    Vote,
    members_of,
    transform,
)
from pyfunc.contract import Language, Prediction
from tasks.composition.decision_path import Decided, describe_path

LABELS = ("bad", "good")
LANGUAGES = ("de", "en")
NAMES = ("film", "kind", "long", "quick")

probabilities = st.floats(0.01, 0.99)


class Known:
    """A member that is known to give one row these probabilities."""

    def __init__(self, scores: Mapping[str, float]) -> None:
        label = max(scores, key=lambda name: scores[name])
        self._prediction = Prediction(label, scores[label], False, dict(scores))
        self.results: dict[int, Prediction | Failure] = {}
        self.retried = 0

    def submit(self, rows: Sequence[int]) -> None:
        self.results |= dict.fromkeys(rows, self._prediction)

    def collect(self, rows: Sequence[int]) -> Iterator[dict[int, Prediction | Failure]]:
        self.submit(rows)
        yield {row: self.results[row] for row in rows}

    def cancel(self) -> None: ...


def trees(depth: int = 3) -> st.SearchStrategy[Node]:
    names: st.SearchStrategy[Node] = st.sampled_from(NAMES)
    if not depth:
        return names
    parts = st.lists(trees(depth - 1), min_size=2, max_size=3).map(tuple)
    by_language = st.tuples(st.just(LANGUAGE), st.sampled_from(LANGUAGES))
    by_label = st.tuples(names, st.sampled_from(LABELS))
    below = trees(depth - 1)
    return st.one_of(
        names,
        parts.map(lambda found: Average(found, tuple(range(1, len(found) + 1)))),
        parts.map(Vote),
        st.builds(Cascade, parts, probabilities),
        st.builds(
            lambda key, part, rest: Route(key[0], ((key[1], part),), rest),
            st.one_of(by_language, by_label),
            below,
            below,
        ),
    )


def with_names_of_their_own(tree: Node) -> Node:
    """Return the tree with another member at each place."""
    names = (f"m{number}" for number in count())

    def rename(node: Node) -> Node:
        if isinstance(node, str):
            return next(names)
        if isinstance(node, Route) and node.by != LANGUAGE:
            return replace(node, by=next(names))
        return node

    return transform(tree, rename)


def evaluate(tree: Node, scores: Mapping[str, float], language: str) -> Decided:
    members = {name: Known({"good": good, "bad": 1 - good}) for name, good in scores.items()}
    evaluation = Evaluation(tree, members)
    evaluation.start([0], {0: Language(language, True, 1.0)})
    decision = next(found[0] for found in evaluation.decide([0]) if found)
    assert isinstance(decision, Decision)
    return Decided(
        label=decision.prediction.label,
        score=decision.prediction.score,
        decided_by=decision.decided_by,
        members={name: (p.label, p.score) for name, p in evaluation.predicted_by(0)},
        language=language,
    )


def walked(node: Node, scores: Mapping[str, float], language: str) -> tuple[list[str], Node]:
    """Return the steps to the part that answers, with all scores at hand."""
    if isinstance(node, Route):
        if node.by == LANGUAGE:
            key, shown = language, language
        else:
            found = evaluate(node.by, scores, language)
            key, shown = found.label, f"{found.label} {found.score:.2f}"
        steps, part = walked(dict(node.to).get(key, node.otherwise), scores, language)
        return [f"route by {node.by} ({shown})", *steps], part
    if isinstance(node, Cascade):
        before: list[str] = []
        for number, part in enumerate(node.parts, start=1):
            steps, found_part = walked(part, scores, language)
            found = evaluate(part, scores, language)
            if number == len(node.parts) or found.score >= node.threshold:
                return [*before, *steps], found_part
            name, below = described(found_part), f"below {node.threshold:g}"
            shown = f"{found.label} {found.score:.2f}, " if isinstance(found_part, str) else ""
            before += [*steps, f"{name} ({shown}{below})"]
    return [], node


def described(node: Node) -> str:
    if isinstance(node, str):
        return node
    if isinstance(node, Route):
        return f"route by {node.by}"
    names = [p if isinstance(p, str) else f"({described(p)})" for p in node.parts]
    return f"{type(node).__name__.lower()} of {', '.join(names)}"


@given(trees().map(with_names_of_their_own), st.data(), st.sampled_from(LANGUAGES))
def test_path_is_the_one_that_was_taken(tree: Node, data: st.DataObject, language: str) -> None:
    scores = {name: data.draw(probabilities, name) for name in members_of(tree)}
    decided = evaluate(tree, scores, language)
    steps, part = walked(tree, scores, language)
    answer = f"{decided.label} {decided.score:.2f}"
    assert describe_path(tree, decided) == " → ".join([*steps, described(part), answer])


@given(
    trees(),
    st.lists(probabilities, min_size=4, max_size=4),
    st.sampled_from(LANGUAGES),
)
def test_every_answer_has_a_path(tree: Node, values: list[float], language: str) -> None:
    decided = evaluate(tree, dict(zip(NAMES, values, strict=True)), language)
    answer = f"{decided.label} {decided.score:.2f}"
    assert describe_path(tree, decided).endswith(f" → {answer}")


def test_answer_that_a_tree_cannot_give_has_no_path() -> None:
    members = {"quick": ("good", 0.6), "film": ("good", 0.9)}
    tree = Cascade(("quick", "film"), 0.7)
    decided = Decided("good", 0.9, "film", members, "en")
    path = "quick (good 0.60, below 0.7) → film → good 0.90"
    assert describe_path(tree, decided) == path
    assert describe_path(Cascade(("quick", "film"), 0.5), decided) == ""
    assert describe_path("quick", decided) == ""
