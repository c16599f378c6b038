"""Recent answers of a version: whose they are, what they are worth, and their bound."""

import pytest

from pyfunc.contract import Answer, Language, Outcome, Prediction, Provenance, Refusal
from tasks.serving.recent_answers import RecentAnswers

PROVENANCE = Provenance("models:/a/1", "models:/m-1")


def computed(label: str, scores: dict[str, float] | None = None) -> Outcome:
    prediction = Prediction(label, 0.9, truncated=False, scores=scores)
    return Outcome.of(Answer(prediction, Language("en", True, 0.9), PROVENANCE), "computed")


def labels_of(recent: RecentAnswers, *texts: object, all_scores: bool = False) -> list[str] | None:
    found = recent.find(texts, all_scores=all_scores)
    if found is None:
        return None
    return [one.answer.prediction.label for one in found if one.answer]


def test_found_answers_are_in_the_order_of_the_texts_and_cached() -> None:
    recent = RecentAnswers()
    recent.add(["a", "b"], [computed("A"), computed("B").as_repeated()], all_scores=False)
    assert labels_of(recent, "b", "a", "b") == ["B", "A", "B"]
    found = recent.find(["a", "b"], all_scores=False) or []
    assert [one.source for one in found] == ["cached"] * 2


@pytest.mark.parametrize("texts", [["a", "other"], [None], [1], [True], ["A"]])
def test_one_that_is_missing_is_none_at_all(texts: list[object]) -> None:
    recent = RecentAnswers()
    recent.add(["a", "1", "True"], [computed("A")] * 3, all_scores=False)
    assert labels_of(recent, *texts) is None


def test_answers_with_the_score_of_each_label_are_others() -> None:
    recent = RecentAnswers()
    recent.add(["a"], [computed("A")], all_scores=True)
    assert labels_of(recent, "a") is None
    assert labels_of(recent, "a", all_scores=True) == ["A"]


def test_refusals_are_not_remembered() -> None:
    recent = RecentAnswers()
    refused = Outcome.of(Refusal("predict", "no memory", PROVENANCE), "refused")
    recent.add(["a", "b"], [refused, computed("B")], all_scores=False)
    assert labels_of(recent, "a") is None
    assert labels_of(recent, "b") == ["B"]


def test_those_asked_for_least_recently_are_dropped() -> None:
    recent = RecentAnswers(max_bytes=4_000)  # three short texts
    for text in "abc":
        recent.add([text], [computed(text)], all_scores=False)
    assert labels_of(recent, "a") == ["a"]
    recent.add(["d"], [computed("d")], all_scores=False)
    assert [text for text in "abcd" if labels_of(recent, text)] == ["a", "c", "d"]


def test_a_text_that_is_longer_than_all_may_be_is_not_remembered() -> None:
    recent = RecentAnswers(max_bytes=4_000)
    recent.add(["a", "b" * 4_000], [computed("A"), computed("B")], all_scores=False)
    assert labels_of(recent, "b" * 4_000) is None
    assert labels_of(recent, "a") == ["A"]


def test_scores_of_many_labels_take_their_place() -> None:
    recent = RecentAnswers(max_bytes=100_000)
    scores = {f"label {number}": 0.001 for number in range(300)}
    for text in "abcd":
        recent.add([text], [computed(text, scores)], all_scores=True)
    assert [t for t in "abcd" if labels_of(recent, t, all_scores=True)] == ["c", "d"]
