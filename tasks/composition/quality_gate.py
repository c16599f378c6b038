"""The quality gate of a composition: is it as accurate as its best member on unseen rows?"""

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import numpy.typing as npt
import pandas as pd

from pyfunc.batching import DEFAULT_BATCH_TOKENS
from pyfunc.bisection import Failure
from pyfunc.composition.composition import Composition
from pyfunc.composition.evaluation import Decided, Decision, Evaluation
from pyfunc.composition.members import Member
from pyfunc.composition.tree import (
    Cascade,
    Node,
    deciders_of,
    has_open_thresholds,
    members_of,
    transform,
)
from pyfunc.contract import Prediction
from pyfunc.detectors.detector import LanguageDetector
from pyfunc.pipeline import refusal_reason
from tasks.common.errors import ModelError
from tasks.composition.types import CompositionCheck, MemberCheck
from tasks.dataset.labels import label_key
from tasks.dataset.splitting import digest_text, sample_rows
from tasks.training.logged_rows import load_joint_test_rows, select_unseen_by_all

logger = logging.getLogger(__name__)

MIN_ROWS = 500
MAX_ROWS = 2_000
_TIMED_ROWS = 500
_REPEATS, _SHORT_S = 3, 1.0
MAX_ACCURACY_LOSS = 0.005

_THRESHOLDS = tuple(number / 100 for number in range(101))

Truth = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class GateRows:
    """Rows to measure a composition with.

    Attributes:
        texts: Texts that no member was trained on, and that a pipeline answers.
        labels: The normal form of their labels.
        proves: Which of them prove what is chosen on the others.
    """

    texts: list[str]
    labels: list[str]
    proves: Truth


def load_gate_rows(
    answer: Node, training_runs: Mapping[str, str], file: str = "composition"
) -> GateRows:
    """Return test rows of the members that decide, which no member was trained on.

    Args:
        answer: The tree.
        training_runs: The training run of each member.
        file: The composition file, for the error.

    Raises:
        ModelError: If a threshold is to be chosen and there are fewer than `MIN_ROWS` rows.
    """
    deciders = deciders_of(answer)
    own = [run_id for name, run_id in training_runs.items() if name in deciders]
    rows = select_unseen_by_all(load_joint_test_rows(own), training_runs.values())
    # A sample: the rows of one member come after those of another, and files are sorted by label.
    rows = sample_rows(rows[rows["text"].map(refusal_reason) == ""], MAX_ROWS, seed=0)
    if has_open_thresholds(answer) and len(rows) < MIN_ROWS:
        raise ModelError(
            f"{file}: least: auto needs {MIN_ROWS} test rows that no member was trained on, and "
            f"has {len(rows)}; expected a number"
        )
    digests = rows["text"].map(digest_text)
    proves = np.array([int(digest[:8], 16) % 2 == 1 for digest in digests], bool)
    if not has_open_thresholds(answer):
        proves[:] = True
    return GateRows(rows["text"].tolist(), rows["label"].map(label_key).tolist(), proves)


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
        self._known = {
            name: _KnownRows(member.classifier.predict(rows.texts, all_scores=True))
            for name, member in members.items()
        }

    def choose_thresholds(self, answer: Node) -> Node:
        """Return the tree with a threshold for each cascade that has none, inner ones first."""

        def choose(node: Node) -> Node:
            if isinstance(node, Cascade) and node.least is None:
                return replace(node, least=self._choose_threshold(node))
            return node

        return transform(answer, choose)

    def measure(self, answer: Node, file: str = "composition") -> CompositionCheck:
        """Return what was measured, and log it.

        Args:
            answer: The tree.
            file: The composition file, for the error.

        Raises:
            ModelError: If the composition is refused.
        """
        proves = self._rows.proves
        decisions = self._decide(answer)
        *_, last = [name for name in members_of(answer) if name in deciders_of(answer)]
        deciders = Counter(
            decision.decided_by
            for decision, counts in zip(decisions, proves, strict=True)
            if counts and isinstance(decision, Decision)
        )
        alone = {name: self._decide(name) for name in self._members}
        count = int(proves.sum())
        check = CompositionCheck(
            rows=count,
            accuracy=self._accuracy(decisions, proves),
            agreement=_mean(_labels(decisions) == _labels(alone[last]), proves),
            rows_per_second=self._speed(answer),
            members={
                name: MemberCheck(
                    accuracy=self._accuracy(found, proves) if name in deciders_of(answer) else None,
                    share=deciders[name] / count if count else 0.0,
                    rows_per_second=self._speed(name),
                )
                for name, found in alone.items()
            },
        )
        _judge(check, file, is_comparable=len(self._rows.texts) >= MIN_ROWS)
        return check

    def _choose_threshold(self, node: Cascade) -> float:
        """Return the lowest threshold that costs no more accuracy than the gate allows.

        Of the most accurate one: where the parts err on different rows, that is more accurate than
        each of them.
        """
        chooses = ~self._rows.proves
        found = {
            threshold: self._accuracy(self._decide(replace(node, least=threshold)), chooses)
            for threshold in _THRESHOLDS
        }
        least = max(found.values()) - MAX_ACCURACY_LOSS
        chosen = min(threshold for threshold, accuracy in found.items() if accuracy >= least)
        logger.info("least: %.2f, chosen on %d rows", chosen, int(chooses.sum()))
        return chosen

    def _decide(self, node: Node) -> list[Decided]:
        rows = range(len(self._rows.texts))
        evaluation = Evaluation(node, self._known)
        evaluation.start(rows, self._languages)
        found = dict(chain.from_iterable(part.items() for part in evaluation.decide(rows)))
        return [found[row] for row in rows]

    def _accuracy(self, decisions: Sequence[Decided], counts: Truth) -> float:
        right = [
            isinstance(found, Decision) and label_key(found.prediction.label) == label
            for found, label in zip(decisions, self._rows.labels, strict=True)
        ]
        return _mean(np.array(right, bool), counts)

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


def _judge(check: CompositionCheck, file: str, *, is_comparable: bool) -> None:
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
            f"{MAX_ACCURACY_LOSS} at most"
        )


def _labels(decisions: Sequence[Decided]) -> npt.NDArray[np.object_]:
    labels = [found.prediction.label if isinstance(found, Decision) else "" for found in decisions]
    return np.array(labels, object)


def _mean(values: npt.NDArray[np.bool_], counts: Truth) -> float:
    return float(values[counts].mean()) if counts.any() else float("nan")
