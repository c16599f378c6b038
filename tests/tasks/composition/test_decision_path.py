"""The path of an answer is that of an evaluation that writes down its steps."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from math import e, pi

import pytest
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
    walk,
)
from pyfunc.contract import Language, Prediction
from tasks.composition.decision_path import describe_path
from tasks.composition.known_answers import Decided, known_answer

LABELS = ("good", "bad")
LANGUAGES = ("de", "en")
NAMES = ("film", "kind", "long", "quick")

# No mean of these is a half, a threshold, or halfway between two numbers that are shown.
probabilities = st.integers(1, 998).map(lambda number: (number + 1 / pi) / 1_000)
thresholds = st.integers(1, 998).map(lambda number: (number + 1 / e) / 1_000)


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
        st.builds(Cascade, parts, thresholds),
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
        labels=dict.fromkeys(members, LABELS),
    )


class Walk:
    """The steps of a text through a tree, with all scores at hand."""

    def __init__(self, scores: Mapping[str, float], language: str, seen: Iterable[str]) -> None:
        self._scores, self._language, self._seen = scores, language, set(seen)

    def steps(self, node: Node, least: float = 0.0) -> list[str]:
        """Return the steps to the part that answers, and the part."""
        if isinstance(node, Route):
            key = self._language
            if node.by != LANGUAGE:
                key = evaluate(node.by, self._scores, self._language).label
            part = dict(node.to).get(key, node.otherwise)
            return [self.described(node), *self.steps(part, least)]
        if isinstance(node, Cascade):
            before: list[str] = []
            for part in node.parts[:-1]:
                found = evaluate(part, self._scores, self._language)
                if found.score >= node.threshold:
                    return [*before, *self.steps(part, max(least, node.threshold))]
                *steps, last = self.steps(part)
                before += [*steps, f"{last} ({self.answered(part)}, below {node.threshold:g})"]
            return [*before, *self.steps(node.parts[-1], least)]
        return [self.described(node) + (f" ({least:g} or more)" if least else "")]

    def answered(self, node: Node) -> str:
        found = evaluate(node, self._scores, self._language)
        return f"{found.label} {found.score:.2f}" if set(found.members) <= self._seen else ""

    def described(self, node: Node) -> str:
        if isinstance(node, str):
            return node
        if isinstance(node, Route):
            shown = self._language if node.by == LANGUAGE else self.answered(node.by)
            return f"route by {node.by}" + (f" ({shown})" if shown else "")
        parts = []
        for number, part in enumerate(node.parts, start=1):
            name = part if isinstance(part, str) else f"({self.described(part)})"
            weight = f"weight {number}" if isinstance(node, Average) else ""
            facts = ", ".join(filter(None, (self.answered(part), weight)))
            parts.append(name + (f" ({facts})" if facts else ""))
        found = f"{type(node).__name__.lower()} of {', '.join(parts)}"
        if isinstance(node, Cascade):
            return f"{found}, least {node.threshold:g}"
        if isinstance(node, Vote) and all(map(self.answered, node.parts)):
            votes = Counter(self.answered(part).split()[0] for part in node.parts)
            found += f": {', '.join(f'{n} {label}' for label, n in votes.most_common())}"
        return found


@given(trees().map(with_names_of_their_own), st.data(), st.sampled_from(LANGUAGES))
def test_path_is_the_one_that_was_taken(tree: Node, data: st.DataObject, language: str) -> None:
    scores = {name: data.draw(probabilities, name) for name in members_of(tree)}
    decided = evaluate(tree, scores, language)
    steps = Walk(scores, language, decided.members).steps(tree)
    answer = f"{decided.label} {decided.score:.2f}"
    assert describe_path(tree, decided) == " → ".join([*steps, answer])


@given(trees().map(with_names_of_their_own), st.data(), st.sampled_from(LANGUAGES))
def test_a_part_is_known_to_answer_as_it_does(
    tree: Node, data: st.DataObject, language: str
) -> None:
    scores = {name: data.draw(probabilities, name) for name in members_of(tree)}
    decided = evaluate(tree, scores, language)
    for part in walk(tree):
        found = evaluate(part, scores, language)
        is_seen = set(found.members) <= set(decided.members)
        known = known_answer(part, decided)
        assert (known is not None) == is_seen
        if known is not None:
            assert known[0] == found.label
            assert known[1] == pytest.approx(found.score)


@given(
    trees(),
    st.lists(probabilities, min_size=4, max_size=4),
    st.sampled_from(LANGUAGES),
)
def test_every_answer_has_a_path(tree: Node, values: list[float], language: str) -> None:
    decided = evaluate(tree, dict(zip(NAMES, values, strict=True)), language)
    answer = f"{decided.label} {decided.score:.2f}"
    assert describe_path(tree, decided).endswith(f" → {answer}")


def test_weights_votes_and_thresholds_are_in_the_path() -> None:
    members = {"quick": ("good", 0.6), "film": ("bad", 0.9), "long": ("bad", 0.8)}
    average = Average(("quick", "film"), (1.0, 2.0))
    tree = Cascade((average, Vote(("quick", "film", "long"))), 0.7)
    labels = dict.fromkeys(members, LABELS)
    decided = Decided("bad", 0.7, "film", members, "en", labels)
    mean = "average of quick (good 0.60, weight 1), film (bad 0.90, weight 2)"
    vote = "vote of quick (good 0.60), film (bad 0.90), long (bad 0.80): 2 bad, 1 good"
    assert describe_path(replace(tree, least=0.75), decided) == (
        f"{mean} (bad 0.73, below 0.75) → {vote} → bad 0.70"
    )
    # Of three labels, a member may have given any share to each of the others.
    of_three = replace(decided, labels=dict.fromkeys(members, (*LABELS, "so-so")))
    assert describe_path(tree, of_three) == f"{mean} (below 0.7) → {vote} → bad 0.70"
    alone = replace(of_three, members={"quick": ("bad", 0.9), "film": ("bad", 0.6)})
    sure = "average of quick (bad 0.90, weight 1), film (bad 0.60, weight 2) (0.7 or more)"
    assert describe_path(tree, alone) == f"{sure} → bad 0.70"


def test_what_an_inner_cascade_trusted_and_an_outer_one_did_not_has_both_thresholds() -> None:
    members = {"quick": ("good", 0.7), "long": ("bad", 0.9)}
    tree = Cascade((Cascade(("quick", "film"), 0.6), "long"), 0.8)
    decided = Decided("bad", 0.9, "long", members, "en")
    assert describe_path(tree, decided) == (
        "quick (0.6 or more) (good 0.70, below 0.8) → long → bad 0.90"
    )


def test_answer_that_a_tree_cannot_give_has_no_path() -> None:
    members = {"quick": ("good", 0.6), "film": ("good", 0.9)}
    tree = Cascade(("quick", "film"), 0.7)
    decided = Decided("good", 0.9, "film", members, "en")
    path = "quick (good 0.60, below 0.7) → film → good 0.90"
    assert describe_path(tree, decided) == path
    assert describe_path(Cascade(("quick", "film"), 0.5), decided) == ""
    assert describe_path("quick", decided) == ""
