"""The quality gate of a composition: is it as accurate as its best member on unseen rows?"""

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from pyfunc.batching import DEFAULT_BATCH_TOKENS
from pyfunc.composition.composition import Composition
from pyfunc.composition.evaluation import Decided, Decision
from pyfunc.composition.members import Member
from pyfunc.composition.tree import Cascade, Node, deciders_of, members_of, placed_nodes
from pyfunc.detectors.detector import LanguageDetector
from tasks.common.errors import ModelError
from tasks.composition.gate_rows import MIN_ROWS, GateRows, Truth
from tasks.composition.known_decisions import KnownDecisions
from tasks.composition.thresholds import MAX_ACCURACY_LOSS, choose_thresholds
from tasks.composition.types import CompositionCheck, MemberCheck
from tasks.dataset.splitting import sample_rows

logger = logging.getLogger(__name__)

_TIMED_ROWS = 500
_REPEATS, _SHORT_S = 3, 1.0


class CompositionGate:
    """Chooses the open thresholds of a tree, and compares the whole with its members."""

    def __init__(
        self, members: Mapping[str, Member], rows: GateRows, detector: LanguageDetector
    ) -> None:
        """Predict all rows with each member.

        Args:
            members: The members.
            rows: The rows.
            detector: What detects their languages.
        """
        self._members = members
        self._rows = rows
        self._languages = dict(enumerate(map(detector.detect, rows.texts)))
        # In the order of a file they may be rows of one member or label.
        timed = sample_rows(pd.DataFrame({"text": rows.texts}), _TIMED_ROWS, seed=0).index
        self._timed = [rows.texts[row] for row in timed]
        self._timed_languages = {at: self._languages[row] for at, row in enumerate(timed)}
        predictions = {
            name: member.classifier.predict(rows.texts, all_scores=True)
            for name, member in members.items()
        }
        self._decisions = KnownDecisions(predictions, rows.labels, self._languages)
        self._chosen: list[str] = []

    def choose_thresholds(self, answer: Node, file: str = "composition") -> Node:
        """Return the tree with a threshold for each cascade, chosen on rows that prove nothing.

        Args:
            answer: The tree.
            file: The composition file, for the error.

        Raises:
            ModelError: If too few rows reach a cascade.
        """
        chosen = choose_thresholds(answer, self._decisions, ~self._rows.proves, file)
        pairs = zip(placed_nodes(answer), placed_nodes(chosen), strict=True)
        self._chosen = [
            f"{place}.least: {after.threshold:.2f}"
            for (place, before), (_, after) in pairs
            if isinstance(before, Cascade) and isinstance(after, Cascade) and before.least is None
        ]
        return chosen

    def measure(self, answer: Node, file: str = "composition") -> CompositionCheck:
        """Return what was measured, and log it.

        Args:
            answer: The tree.
            file: The composition file, for the error.

        Raises:
            ModelError: If the composition is refused.
        """
        proves, count = self._rows.proves, int(self._rows.proves.sum())
        decisions = self._decisions.decide(answer)
        in_order = [name for name in members_of(answer) if name in deciders_of(answer)]
        last = self._decisions.decide(in_order[-1])
        deciders = Counter(
            decision.decided_by
            for decision, counts in zip(decisions, proves, strict=True)
            if counts and isinstance(decision, Decision)
        )
        check = CompositionCheck(
            rows=count,
            accuracy=self._accuracy(answer),
            agreement=_mean(_labels(decisions) == _labels(last), proves),
            rows_per_second=self._speed(answer),
            members={
                name: MemberCheck(
                    accuracy=self._accuracy(name) if name in in_order else None,
                    share=deciders[name] / count if count else 0.0,
                    rows_per_second=self._speed(name),
                )
                for name in self._members
            },
        )
        advice = f"; try a number above {' and '.join(self._chosen)}" if self._chosen else ""
        _judge(check, file, advice, is_comparable=len(self._rows.texts) >= MIN_ROWS)
        return check

    def _accuracy(self, tree: Node) -> float:
        return _mean(self._decisions.are_right(tree), self._rows.proves)

    def _speed(self, node: Node) -> float:
        """Return the rows that a tree decides in a second, without known predictions.

        The best of three, unless one takes long: the machine has other work as well.
        """
        seconds = [self._time(node)]
        while len(seconds) < _REPEATS and seconds[0] < _SHORT_S:
            seconds.append(self._time(node))
        return len(self._timed) / min(seconds)

    def _time(self, node: Node) -> float:
        rows = range(len(self._timed))
        started = time.perf_counter()
        evaluation = Composition(node, self._members, "").evaluation(
            self._timed, batch_tokens=DEFAULT_BATCH_TOKENS, all_scores=False
        )
        evaluation.start(rows, self._timed_languages)
        for _ in evaluation.decide(rows):
            pass
        return time.perf_counter() - started


def _judge(check: CompositionCheck, file: str, advice: str, *, is_comparable: bool) -> None:
    measured = {name: found.accuracy for name, found in check.members.items()}
    known = {name: accuracy for name, accuracy in measured.items() if accuracy is not None}
    name, best = max(known.items(), key=lambda item: item[1])
    logger.info(
        "accuracy %.4f of the composition, %.4f of its best member %s, on %d rows that no member "
        "was trained on; %.0f rows/s",
        *(check.accuracy, best, name, check.rows, check.rows_per_second),
    )
    if not is_comparable:
        logger.warning(
            "the composition is not compared with its members: %d test rows that no member was "
            "trained on; expected %d or more",
            *(check.rows, MIN_ROWS),
        )
    # Not `<`, which a NaN would pass.
    elif not check.accuracy >= best - MAX_ACCURACY_LOSS:
        raise ModelError(
            f"{file}: accuracy {check.accuracy:.4f} of the composition on {check.rows} rows that "
            f"no member was trained on; expected {best:.4f}, that of its member {name}, less "
            f"{MAX_ACCURACY_LOSS} at most{advice}"
        )


def _labels(decisions: Sequence[Decided]) -> npt.NDArray[np.object_]:
    labels = [found.prediction.label if isinstance(found, Decision) else "" for found in decisions]
    return np.array(labels, object)


def _mean(values: npt.NDArray[np.bool_], counts: Truth) -> float:
    return float(values[counts].mean()) if counts.any() else float("nan")
