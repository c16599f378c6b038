"""A composition answers only if it is as accurate as its best member, on rows unseen by all."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pyfunc.classifier import Classifier
from pyfunc.composition.members import Member
from pyfunc.composition.tree import Average, Cascade, Node, Route
from pyfunc.detectors.selection import open_detector
from pyfunc.engines.engine import Logits
from pyfunc.spec import Variant
from pyfunc.tokens import Encoder, TokenBatch
from tasks.common.errors import ModelError, ParameterError
from tasks.composition import gate_rows
from tasks.composition.gate_rows import MIN_ROWS, GateRows
from tasks.composition.quality_gate import CompositionGate

ROWS = 600
TEXTS = [f"{number} films" for number in range(ROWS)]
LABELS = ["positive" if number % 3 else "negative" for number in range(ROWS)]

Scores = Callable[[int], tuple[float, bool]]


class Scripted:
    """An engine that says of each of the rows what it is told to."""

    variant, device, callers, streams = Variant("torch", "f32"), "cpu", 1, 1

    def __init__(self, folder: Path, scores: Scores) -> None:
        encoder = Encoder(folder, max_tokens=16)
        self._logits = {}
        self._numbers = {}
        self.asked: set[int] = set()
        for number, tokens in enumerate(encoder.encode(TEXTS)):
            score, is_right = scores(number)
            positive = (LABELS[number] == "positive") == is_right
            share = score if positive else 1 - score
            self._logits[tuple(tokens.ids)] = np.log([1 - share, share])
            self._numbers[tuple(tokens.ids)] = number

    def logits(self, batch: TokenBatch) -> Logits:
        keys = [tuple(row[mask == 1]) for row, mask in zip(batch.ids, batch.mask, strict=True)]
        self.asked.update(self._numbers[key] for key in keys)
        return np.array([self._logits[key] for key in keys], np.float32)


def gate_of(folder: Path, members: Mapping[str, Scores], rows: Sequence[bool]) -> CompositionGate:
    opened = {
        name: Member(
            Classifier(folder, Scripted(folder, scores), max_tokens=16), f"models:/f/{name}"
        )
        for name, scores in members.items()
    }
    found = GateRows(TEXTS[: len(rows)], LABELS[: len(rows)], np.array(rows, bool))
    return CompositionGate(opened, found, open_detector())


ALL = [True] * ROWS
HALF = [number % 2 == 0 for number in range(ROWS)]


def sure_of_what_is_right(number: int) -> tuple[float, bool]:
    """Right and sure of the even tens, else right by chance and unsure."""
    return (0.9, True) if number // 10 % 2 == 0 else (0.6, number % 4 > 1)


def always(score: float, *, wrong_every: int) -> Scores:
    return lambda number: (score, number % wrong_every != 0)


def test_a_threshold_is_the_lowest_that_costs_no_accuracy(tiny_classifier: Path) -> None:
    members = {"quick": sure_of_what_is_right, "film": always(0.8, wrong_every=10)}
    gate = gate_of(tiny_classifier, members, HALF)
    tree = gate.choose_thresholds(Cascade(("quick", "film"), None))
    assert tree == Cascade(("quick", "film"), 0.6)
    check = gate.measure(tree)
    assert check.rows == ROWS / 2
    assert check.members["quick"].share == pytest.approx(0.5, abs=0.02)
    assert check.members["film"].accuracy == pytest.approx(0.9, abs=0.1)
    assert check.accuracy >= (check.members["film"].accuracy or 0)
    assert check.rows_per_second > 0
    assert all(member.rows_per_second > 0 for member in check.members.values())


def test_a_threshold_is_as_high_as_it_has_to_be(tiny_classifier: Path) -> None:
    members = {"quick": always(0.9, wrong_every=3), "film": always(0.8, wrong_every=10)}
    gate = gate_of(tiny_classifier, members, HALF)
    tree = gate.choose_thresholds(Cascade(("quick", "film"), None))
    assert tree == Cascade(("quick", "film"), 0.9)
    assert gate.measure(tree).members["film"].share == 1


def test_an_inner_threshold_is_chosen_before_the_outer_one(tiny_classifier: Path) -> None:
    members = {"quick": sure_of_what_is_right, "film": always(0.8, wrong_every=10)}
    gate = gate_of(tiny_classifier, members, HALF)
    inner = Cascade(("quick", "film"), None)
    tree = gate.choose_thresholds(Cascade((inner, "film"), None))
    assert isinstance(tree, Cascade)
    assert tree.parts[0] == Cascade(("quick", "film"), 0.6)


@pytest.mark.parametrize(
    ("around", "least"),
    [
        (lambda cascade: cascade, 0.71),
        (lambda cascade: Route("right", (("positive", "film"),), cascade), 0),
        (lambda cascade: Route("right", (("positive", cascade),), "film"), 0.71),
        (lambda cascade: Cascade(("sure", cascade), 0.7), 0),
        (lambda cascade: Average((Cascade(("sure", cascade), 0.7), "film"), (1, 1)), 0),
    ],
    ids=["all", "else", "to", "cascade", "mixed"],
)
def test_a_threshold_is_chosen_on_the_rows_that_reach_its_cascade(
    tiny_classifier: Path, around: Callable[[Node], Node], least: float
) -> None:
    members = {
        "quick": lambda number: (0.6 if number % 3 == 0 else 0.7, LABELS[number] == "negative"),
        "film": always(0.8, wrong_every=10),
        "right": lambda _: (0.9, True),
        "sure": lambda number: (0.9 if LABELS[number] == "positive" else 0.6, True),
    }
    gate = gate_of(tiny_classifier, members, HALF)
    tree = gate.choose_thresholds(around(Cascade(("quick", "film"), None)))
    assert tree == around(Cascade(("quick", "film"), least))


def test_a_cascade_that_few_rows_reach_gets_no_threshold(tiny_classifier: Path) -> None:
    members = {
        "quick": always(0.9, wrong_every=10),
        "film": always(0.8, wrong_every=10),
        "rare": lambda number: (
            0.9,
            LABELS[number] == ("positive" if number < 150 else "negative"),
        ),
    }
    gate = gate_of(tiny_classifier, members, HALF)
    tree = Route("rare", (("negative", "film"),), Cascade(("quick", "film"), None))
    with pytest.raises(
        ModelError,
        match=r"^c.yaml: answer.else.least: auto needs 100 test rows that reach it, in the half "
        r"that chooses, and has 75; expected a number$",
    ):
        gate.choose_thresholds(tree, "c.yaml")


def test_a_threshold_lets_parts_that_err_on_different_rows_make_up_for_each_other(
    tiny_classifier: Path,
) -> None:
    members = {
        "quick": sure_of_what_is_right,  # right in three quarters of the rows
        "film": lambda number: (0.8, number // 10 % 2 == 1),  # right where the other is unsure
    }
    gate = gate_of(tiny_classifier, members, HALF)
    tree = gate.choose_thresholds(Cascade(("quick", "film"), None))
    assert gate.measure(tree).accuracy == 1


@pytest.mark.parametrize(
    "tree", [Cascade(("quick", "film"), 0.5), Average(("quick", "film"), (9.0, 1.0))]
)
def test_a_composition_that_is_worse_than_its_best_member_is_refused(
    tiny_classifier: Path, tree: Node
) -> None:
    members = {"quick": always(0.9, wrong_every=4), "film": always(0.8, wrong_every=10)}
    gate = gate_of(tiny_classifier, members, ALL)
    with pytest.raises(
        ModelError,
        match=r"^c.yaml: accuracy 0.7500 of the composition on 600 rows .* expected 0.9000, that "
        r"of its member film, less 0.005 at most$",
    ):
        gate.measure(tree, "c.yaml")


def test_who_is_refused_with_a_chosen_threshold_is_told_it(tiny_classifier: Path) -> None:
    members = {
        # In the rows that choose, right where it is sure; in those that prove, wrong.
        "quick": lambda number: (0.9, not HALF[number]),
        "film": always(0.8, wrong_every=10),
    }
    gate = gate_of(tiny_classifier, members, HALF)
    tree = gate.choose_thresholds(Cascade((Cascade(("quick", "film"), None), "film"), 0.5))
    with pytest.raises(
        ModelError, match=r"at most; try a number above answer.cascade\[0\].least: 0.00$"
    ):
        gate.measure(tree)


def test_half_a_point_less_is_accepted(tiny_classifier: Path) -> None:
    worse = {"quick": always(0.9, wrong_every=10), "film": lambda number: (0.8, number % 200 != 0)}
    gate = gate_of(tiny_classifier, worse, ALL)
    assert gate.measure(Cascade(("film", "quick"), 0.5)).accuracy == pytest.approx(0.995)

    def nearly(number: int) -> tuple[float, bool]:
        return 0.9, number % 200 != 0 and number not in (1, 2, 4)

    gate = gate_of(tiny_classifier, {"quick": nearly, "film": worse["film"]}, ALL)
    assert gate.measure(Cascade(("quick", "film"), 0.5)).accuracy == pytest.approx(0.99)


def test_a_sample_of_all_rows_is_timed(tiny_classifier: Path) -> None:
    members = {"quick": always(0.9, wrong_every=10), "film": always(0.8, wrong_every=10)}
    gate = gate_of(tiny_classifier, members, ALL)
    engine = gate._members["film"].classifier.engine
    assert isinstance(engine, Scripted)
    engine.asked.clear()
    gate.measure(Cascade(("quick", "film"), 0.5))
    assert len(engine.asked) == 500
    # Of a file that is sorted, the last hundred rows have a label of their own.
    assert 60 < len([row for row in engine.asked if row >= 500]) < 100


def test_few_rows_refuse_nothing_and_say_so(
    tiny_classifier: Path, caplog: pytest.LogCaptureFixture
) -> None:
    members = {"quick": always(0.9, wrong_every=2), "film": always(0.8, wrong_every=10)}
    gate = gate_of(tiny_classifier, members, ALL[: MIN_ROWS - 1])
    assert gate.measure(Cascade(("quick", "film"), 0.5)).rows == MIN_ROWS - 1
    assert f"is not compared with its members: {MIN_ROWS - 1} test rows" in caplog.text


def test_an_open_threshold_needs_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pd.DataFrame({"text": TEXTS, "label": LABELS}).head(MIN_ROWS - 1)
    monkeypatch.setattr(gate_rows, "load_joint_test_rows", lambda _: rows)
    monkeypatch.setattr(gate_rows, "select_unseen_by_all", lambda found, _: found)
    runs = {"quick": "a", "film": "b"}
    with pytest.raises(ParameterError, match=r"^c.yaml: least: auto needs 500 .* has 499; expe"):
        gate_rows.load_gate_rows(Cascade(("quick", "film"), None), runs, "c.yaml")
    found = gate_rows.load_gate_rows(Cascade(("quick", "film"), 0.7), runs)
    assert found.proves.all()


def test_rows_of_all_members_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"text {number}" for number in range(3 * gate_rows.MAX_ROWS)]
    labels = ["positive"] * (len(texts) // 2) + ["negative"] * (len(texts) // 2)
    rows = pd.DataFrame({"text": texts, "label": labels})
    monkeypatch.setattr(gate_rows, "load_joint_test_rows", lambda _: rows)
    monkeypatch.setattr(gate_rows, "select_unseen_by_all", lambda found, _: found)
    found = gate_rows.load_gate_rows(Cascade(("quick", "film"), 0.7), {"quick": "a"})
    assert len(found.texts) == gate_rows.MAX_ROWS
    assert 0.45 < found.labels.count("negative") / len(found.labels) < 0.55
