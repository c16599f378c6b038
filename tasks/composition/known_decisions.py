"""What trees over known predictions of their members decide of the rows of a gate."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import numpy as np

from pyfunc.bisection import Failure
from pyfunc.composition.evaluation import Decided, Decision, Evaluation
from pyfunc.composition.tree import Cascade, Node, transform
from pyfunc.contract import Language, Prediction
from tasks.composition.gate_rows import Truth
from tasks.dataset.labels import label_key

_HERE = ""  # the name of no member


class KnownDecisions:
    """The decisions of any tree over members whose predictions are known."""

    def __init__(
        self,
        predictions: Mapping[str, Sequence[Prediction]],
        labels: Sequence[str],
        languages: Mapping[int, Language],
    ) -> None:
        """Take what is known.

        Args:
            predictions: Those of each member for all rows, with the probability of every label.
            labels: The normal form of the label of each row.
            languages: The language of each row.
        """
        self._members = {name: _KnownRows(found) for name, found in predictions.items()}
        self._labels = labels
        self._languages = languages

    def decide(self, tree: Node) -> list[Decided]:
        """Return what a tree decides of each row."""
        return self._evaluate(tree, self._members)

    def are_right(self, tree: Node) -> Truth:
        """Return which rows a tree labels right."""
        right = [
            isinstance(found, Decision) and label_key(found.prediction.label) == label
            for found, label in zip(self.decide(tree), self._labels, strict=True)
        ]
        return np.array(right, bool)

    def reaching(self, answer: Node, node: Node) -> Truth:
        """Return which rows get to a node of a tree: cascades and routes keep others from it.

        Cascades around it that have no threshold yet keep none.
        """

        def change(part: Node) -> Node:
            if part == node:
                return _HERE
            if isinstance(part, Cascade) and part.least is None:
                return Cascade(part.parts, least=np.inf)
            return part

        here = _RowsThatFail()
        self._evaluate(transform(answer, change), {**self._members, _HERE: here})
        return np.isin(np.arange(len(self._labels)), list(here.results))

    def _evaluate(
        self, tree: Node, members: Mapping[str, "_KnownRows | _RowsThatFail"]
    ) -> list[Decided]:
        rows = range(len(self._labels))
        evaluation = Evaluation(tree, members)
        evaluation.start(rows, self._languages)
        found = dict(chain.from_iterable(part.items() for part in evaluation.decide(rows)))
        return [found[row] for row in rows]


class _KnownRows:
    """The rows of a member whose predictions are known."""

    retried = 0

    def __init__(self, predictions: Sequence[Prediction]) -> None:
        self.results: dict[int, Prediction | Failure] = dict(enumerate(predictions))

    def submit(self, rows: Sequence[int]) -> None:
        """Do nothing."""

    def collect(self, rows: Sequence[int]) -> Iterator[dict[int, Prediction | Failure]]:
        """Yield the predictions of rows."""
        yield {row: self.results[row] for row in rows}

    def cancel(self) -> None:
        """Do nothing."""


class _RowsThatFail:
    """The rows that get to a part of a tree; a failure is final, whatever is around it."""

    retried = 0

    def __init__(self) -> None:
        self.results: dict[int, Prediction | Failure] = {}

    def submit(self, rows: Sequence[int]) -> None:
        """Do nothing."""

    def collect(self, rows: Sequence[int]) -> Iterator[dict[int, Prediction | Failure]]:
        """Yield a failure for each row, and remember it."""
        found: dict[int, Prediction | Failure] = {row: Failure("reached") for row in rows}
        self.results |= found
        yield found

    def cancel(self) -> None:
        """Do nothing."""
