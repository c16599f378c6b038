"""Evaluate the tree of a composition on the texts of a window.

Each member computes full batches of the rows that reach it, and no row twice. Rows whose decision
is known are yielded while others are computed.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol

from ..bisection import Failure
from ..contract import Language, Prediction
from .tree import LANGUAGE, Average, Cascade, Node, Route, Vote


@dataclass(frozen=True, slots=True)
class Decision:
    """The prediction of a tree, and the name of the member that decided it."""

    prediction: Prediction
    decided_by: str


Decided = Decision | Failure
Decisions = dict[int, Decided]


class Rows(Protocol):
    """The rows of a window that a member predicts, as `MemberRows`.

    Attributes:
        results: Its predictions and failures so far, by row.
        retried: Texts that were tried again because their batch failed.
    """

    results: dict[int, Prediction | Failure]
    retried: int

    def submit(self, rows: Sequence[int]) -> None:
        """Submit those of the rows that have not been."""

    def collect(self, rows: Sequence[int]) -> Iterator[dict[int, Prediction | Failure]]:
        """Yield the predictions of rows as they are computed."""

    def cancel(self) -> None:
        """Cancel what has not started."""


class Evaluation:
    """A tree on the texts of a window; rows are their indices."""

    def __init__(self, tree: Node, members: Mapping[str, Rows]) -> None:
        """Take what is to be evaluated.

        Args:
            tree: The tree.
            members: The rows of each of its members; those that `mixed_members` names have the
                probability of every label.
        """
        self._tree = tree
        self._members = members
        self._rows: Sequence[int] = ()
        self._languages: Mapping[int, Language] = {}

    def start(self, rows: Sequence[int], languages: Mapping[int, Language]) -> None:
        """Submit what is computed in any case.

        Args:
            rows: The rows to decide.
            languages: Their languages; they may be missing if no language decides.
        """
        self._rows = rows
        self._languages = languages
        self._start(self._tree, rows)

    def advance(self) -> None:
        """Wait for the members that decide which others are asked, and submit to those.

        What is submitted is computed while the caller does something else before it decides.

        Raises:
            Exception: If a member raises on every text.
        """
        self._advance(self._tree, self._rows)

    def decide(self, rows: Sequence[int]) -> Iterator[Decisions]:
        """Yield decisions and failures as they are known; each of the rows has one.

        Raises:
            Exception: If a member raises on every text.
        """
        yield from self._evaluate(self._tree, rows)

    def predicted_by(self, row: int) -> Iterator[tuple[str, Prediction]]:
        """Yield the members that predicted a row, in the order of their names in the tree."""
        for name, member in self._members.items():
            found = member.results.get(row)
            if isinstance(found, Prediction):
                yield name, found

    @property
    def retried(self) -> int:
        """Texts that were tried again because their batch failed."""
        return sum(member.retried for member in self._members.values())

    def cancel(self) -> None:
        """Cancel what has not started."""
        for member in self._members.values():
            member.cancel()

    def _start(self, node: Node, rows: Sequence[int]) -> None:
        if isinstance(node, str):
            self._members[node].submit(rows)
        elif isinstance(node, Cascade):
            self._start(node.parts[0], rows)
        elif isinstance(node, Average | Vote):
            for part in node.parts:
                self._start(part, rows)
        elif node.by == LANGUAGE:
            for part, group in self._by_language(node, rows):
                self._start(part, group)
        else:
            self._members[node.by].submit(rows)

    def _advance(self, node: Node, rows: Sequence[int]) -> None:
        if isinstance(node, Cascade):
            first, second, *_ = node.parts
            decided = chain.from_iterable(part.items() for part in self._evaluate(first, rows))
            unsure = [row for row, value in decided if _score(value) < node.threshold]
            self._start(second, sorted(unsure))
        elif isinstance(node, Average | Vote):
            for part in node.parts:
                self._advance(part, rows)
        elif isinstance(node, Route) and node.by == LANGUAGE:
            for part, group in self._by_language(node, rows):
                self._advance(part, group)
        elif isinstance(node, Route):
            for part, group in self._groups_of(node, rows):
                self._start(part, group)

    def _evaluate(self, node: Node, rows: Sequence[int]) -> Iterator[Decisions]:
        if not rows:
            return
        if isinstance(node, str):
            for found in self._members[node].collect(rows):
                yield {
                    row: value if isinstance(value, Failure) else Decision(value, node)
                    for row, value in found.items()
                }
        elif isinstance(node, Cascade):
            yield from self._evaluate_cascade(node, rows)
        elif isinstance(node, Route):
            yield from self._evaluate_route(node, rows)
        else:
            yield self._mix(node, rows)

    def _evaluate_cascade(self, node: Cascade, rows: Sequence[int]) -> Iterator[Decisions]:
        *earlier, last = node.parts
        for part in earlier:
            unsure: list[int] = []
            for found in self._evaluate(part, rows):
                # A failure or a score that is no number is final: it is no doubt.
                below = {row for row, value in found.items() if _score(value) < node.threshold}
                unsure += below
                yield {row: value for row, value in found.items() if row not in below}
            rows = sorted(unsure)
        yield from self._evaluate(last, rows)

    def _evaluate_route(self, node: Route, rows: Sequence[int]) -> Iterator[Decisions]:
        groups = self._groups_of(node, rows)
        for part, group in groups:
            self._start(part, group)
        if node.by != LANGUAGE:
            known = {row: self._members[node.by].results[row] for row in rows}
            yield {row: value for row, value in known.items() if isinstance(value, Failure)}
        for part, group in groups:
            yield from self._evaluate(part, group)

    def _groups_of(self, node: Route, rows: Sequence[int]) -> list[tuple[Node, list[int]]]:
        """Return the parts that rows are routed to, with their rows; none for those that failed."""
        if node.by == LANGUAGE:
            return self._by_language(node, rows)
        targets = dict(node.to)
        return _grouped(
            {
                row: targets.get(value.label, node.otherwise)
                for found in self._members[node.by].collect(rows)
                for row, value in found.items()
                if isinstance(value, Prediction)
            }
        )

    def _by_language(self, node: Route, rows: Sequence[int]) -> list[tuple[Node, list[int]]]:
        targets = dict(node.to)
        codes = {row: self._languages[row].code for row in rows}
        return _grouped({row: targets.get(code, node.otherwise) for row, code in codes.items()})

    def _mix(self, node: Average | Vote, rows: Sequence[int]) -> Decisions:
        for part in node.parts:
            self._start(part, rows)
        parts: list[Decisions] = [{} for _ in node.parts]
        for part, decisions in zip(node.parts, parts, strict=True):
            for found in self._evaluate(part, rows):
                decisions.update(found)
        mix = _average if isinstance(node, Average) else _vote
        mixed: Decisions = {}
        for row in rows:
            found_of_row = [decisions[row] for decisions in parts]
            decided = [found for found in found_of_row if isinstance(found, Decision)]
            failures = [found for found in found_of_row if isinstance(found, Failure)]
            mixed[row] = failures[0] if failures else mix(node, decided)  # type: ignore[arg-type]
        return mixed


def _grouped(chosen: Mapping[int, Node]) -> list[tuple[Node, list[int]]]:
    """Return the nodes that rows are routed to, each once, with their rows in order."""
    groups: dict[Node, list[int]] = {}
    for row in sorted(chosen):
        groups.setdefault(chosen[row], []).append(row)
    return list(groups.items())


def _score(value: Decided) -> float:
    return value.prediction.score if isinstance(value, Decision) else float("inf")


def _average(node: Average, decisions: Sequence[Decision]) -> Decision:
    scores = [_scores(decision) for decision in decisions]
    total = sum(node.weights)
    means = {
        label: sum(
            weight * found[label] for weight, found in zip(node.weights, scores, strict=True)
        )
        / total
        for label in scores[0]
    }
    label = max(means, key=lambda name: means[name])
    shares = [weight * found[label] for weight, found in zip(node.weights, scores, strict=True)]
    return _mixed(label, means, decisions, shares)


def _vote(_: Vote, decisions: Sequence[Decision]) -> Decision:
    scores = [_scores(decision) for decision in decisions]
    means = {label: sum(found[label] for found in scores) / len(scores) for label in scores[0]}
    votes = Counter(decision.prediction.label for decision in decisions)
    label = max(means, key=lambda name: (votes[name], means[name]))
    shares = [
        found[label] if decision.prediction.label == label else -1.0
        for found, decision in zip(scores, decisions, strict=True)
    ]
    return _mixed(label, means, decisions, shares)


def _mixed(
    label: str,
    means: dict[str, float],
    decisions: Sequence[Decision],
    shares: Sequence[float],
) -> Decision:
    """Return the decision for a label; the part with the largest share in it decided."""
    decider = decisions[shares.index(max(shares))]
    truncated = any(decision.prediction.truncated for decision in decisions)
    prediction = replace(
        decider.prediction, label=label, score=means[label], truncated=truncated, scores=means
    )
    return Decision(prediction, decider.decided_by)


def _scores(decision: Decision) -> dict[str, float]:
    scores = decision.prediction.scores
    assert scores is not None  # noqa: S101 -- `mixed_members` are asked for them
    return scores
