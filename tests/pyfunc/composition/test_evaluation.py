"""A composition answers as its tree says, row by row, whatever it is asked together with."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from pyfunc import inference
from pyfunc.cache.cache import PredictionCache
from pyfunc.classifier import Batch
from pyfunc.composition.composition import Composition
from pyfunc.composition.members import Member
from pyfunc.composition.tree import Average, Cascade, Node, Route, Vote, members_of, walk
from pyfunc.contract import Answer, Language, Prediction
from pyfunc.detectors.selection import open_detector
from pyfunc.pipeline import InferencePipeline, refusal_reason
from pyfunc.tokens import Tokens
from tests.pyfunc.composition.trees import TREES, evaluate
from tests.support.references import TEXTS

CLOSE = 1e-5  # scores depend on the other rows of a batch
WINDOW = 5

TEXTS_OF_ALL_KINDS = [
    *(text for text in dict.fromkeys(TEXTS) if not refusal_reason(text)),
    "12345",
    "ein guter Film, sehr zu empfehlen",
    *(f"a {word} film, number {number}" for number, word in enumerate(("great", "bad") * 8)),
]

unhurried = settings(
    deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(autouse=True, scope="module")
def _small_windows() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference, "_WINDOW_TEXTS", WINDOW)
        yield


@pytest.fixture(scope="module")
def predictions(members: Mapping[str, Member]) -> dict[str, dict[str, Prediction]]:
    """What each member predicts of each text, alone."""
    return {
        text: {
            name: member.classifier.predict([text], all_scores=True)[0]
            for name, member in members.items()
        }
        for text in TEXTS_OF_ALL_KINDS
    }


def composed(tree: Node, members: Mapping[str, Member], cache: Path) -> InferencePipeline:
    composition = Composition(tree, members, "models:/m-1")
    return InferencePipeline(composition, open_detector(), PredictionCache(cache, "f"))


def is_at_a_threshold(tree: Node, predictions: Mapping[str, Prediction]) -> bool:
    """Return whether rounding decides: two numbers that the tree compares are as good as equal."""
    numbers = [score for found in predictions.values() for score in (found.scores or {}).values()]
    limits = [node.threshold for node in walk(tree) if isinstance(node, Cascade)] + [0.5]
    return any(abs(number - limit) < CLOSE for number in numbers for limit in limits)


def answers_of(
    pipeline: InferencePipeline, texts: list[str], *, use_cache: bool = False
) -> list[Answer]:
    outcomes = pipeline.answer(texts, use_cache=use_cache, batch_tokens=64).outcomes
    found = [outcome.answer for outcome in outcomes]
    assert all(found)
    return [answer for answer in found if answer]


@unhurried
@given(tree=TREES, texts=st.lists(st.sampled_from(TEXTS_OF_ALL_KINDS), min_size=1, max_size=12))
def test_random_trees_answer_as_their_naive_evaluation(
    members: Mapping[str, Member],
    predictions: Mapping[str, Mapping[str, Prediction]],
    tmp_path: Path,
    tree: Node,
    texts: list[str],
) -> None:
    assume(not any(is_at_a_threshold(tree, predictions[text]) for text in texts))
    event(f"operators: {len([node for node in walk(tree) if not isinstance(node, str)])}")
    detector = open_detector()
    for text, answer in zip(
        texts, answers_of(composed(tree, members, tmp_path), texts), strict=True
    ):
        scores, label, decider = evaluate(tree, predictions[text], detector.detect(text))
        assert answer.prediction.label == label
        assert answer.prediction.score == pytest.approx(scores[label], abs=CLOSE)
        assert answer.provenance.finetuned_model_uri == members[decider].uri
        if not isinstance(tree, str):
            assert answer.decided_by == decider
            touched = {member.name: member for member in answer.members}
            assert decider in touched
            assert set(touched) <= set(members_of(tree))
            for name, member in touched.items():
                assert member.label == predictions[text][name].label
                assert member.score == pytest.approx(predictions[text][name].score, abs=CLOSE)


MIXED = Route(
    "kind",
    (("ticket", Cascade(("one", Average(("two", "three"), (1.0, 2.0))), 0.8)),),
    Route("language", (("en", Vote(("one", "two", "three"))),), "three"),
)


@pytest.fixture(scope="module")
def mixed(
    members: Mapping[str, Member], tmp_path_factory: pytest.TempPathFactory
) -> InferencePipeline:
    """A pipeline of all operators."""
    return composed(MIXED, members, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def alone(mixed: InferencePipeline) -> dict[str, Answer]:
    """What it answers to each text alone."""
    return {text: answers_of(mixed, [text])[0] for text in TEXTS_OF_ALL_KINDS}


@unhurried
@given(texts=st.lists(st.sampled_from(TEXTS_OF_ALL_KINDS), min_size=1, max_size=30))
def test_an_answer_does_not_depend_on_order_company_or_cache(
    mixed: InferencePipeline, alone: Mapping[str, Answer], texts: list[str]
) -> None:
    for use_cache in (False, True, True):
        found = answers_of(mixed, texts, use_cache=use_cache)
        for text, answer in zip(texts, found, strict=True):
            first = alone[text]
            assert answer.decided_by == first.decided_by
            assert answer.prediction.label == first.prediction.label
            assert math.isclose(answer.prediction.score, first.prediction.score, abs_tol=CLOSE)
            assert [m.name for m in answer.members] == [m.name for m in first.members]


def test_every_operator_of_that_pipeline_answers_some_text(alone: Mapping[str, Answer]) -> None:
    assert {answer.decided_by for answer in alone.values()} == {"one", "two", "three"}
    assert len({tuple(m.name for m in answer.members) for answer in alone.values()}) >= 3


def test_answers_have_the_probability_of_every_label_if_they_are_asked_for(
    members: Mapping[str, Member], tmp_path: Path
) -> None:
    pipeline = composed(MIXED, members, tmp_path)
    assert {answer.prediction.scores for answer in answers_of(pipeline, TEXTS_OF_ALL_KINDS)} == {
        None
    }
    outcomes = pipeline.answer(
        TEXTS_OF_ALL_KINDS, use_cache=False, batch_tokens=64, all_scores=True
    ).outcomes
    for outcome in outcomes:
        assert outcome.answer
        scores = outcome.answer.prediction.scores
        assert scores
        assert sum(scores.values()) == pytest.approx(1, abs=CLOSE)
        assert scores[outcome.answer.prediction.label] == outcome.answer.prediction.score


def test_members_see_just_the_rows_that_reach_them(
    members: Mapping[str, Member],
    predictions: Mapping[str, Mapping[str, Prediction]],
    tmp_path: Path,
) -> None:
    tree = Cascade(("one", "two"), 0.83)
    answers = answers_of(composed(tree, members, tmp_path), TEXTS_OF_ALL_KINDS)
    for text, answer in zip(TEXTS_OF_ALL_KINDS, answers, strict=True):
        is_sure = predictions[text]["one"].score >= 0.83
        assert [member.name for member in answer.members] == ["one"] + ["two"] * (not is_sure)
        assert answer.decided_by == ("one" if is_sure else "two")
    assert {answer.decided_by for answer in answers} == {"one", "two"}, "expected rows of both"


@pytest.mark.parametrize(
    "tree",
    [
        Cascade(("one", "two"), 1.0),
        Route("one", (("positive", "two"),), "two"),
        Average(("three", Cascade(("one", "two"), 1.0)), (1.0, 1.0)),
        Route("language", (("en", Cascade(("one", "two"), 1.0)),), "two"),
    ],
)
def test_members_that_others_decide_on_compute_while_the_next_languages_are_detected(
    members: Mapping[str, Member], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tree: Node
) -> None:
    done: list[str] = []
    second, detector = members["two"].classifier, open_detector()
    submit, detect = second.submit, detector.detect

    def watched(tokens: Sequence[Tokens], batch_tokens: int) -> list[Batch]:
        done.append("two")
        return submit(tokens, batch_tokens)

    def detected(text: str) -> Language:
        done.append(text)
        return detect(text)

    monkeypatch.setattr(second, "submit", watched)
    monkeypatch.setattr(detector, "detect", detected)
    texts = [f"a film of the year {year}" for year in range(WINDOW + 1)]
    composition = Composition(tree, members, "models:/m-1")
    pipeline = InferencePipeline(composition, detector, PredictionCache(tmp_path, "f"))
    assert len(answers_of(pipeline, texts)) == len(texts)
    assert done.index("two") < done.index(texts[WINDOW])
