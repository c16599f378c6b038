import json
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfunc.contract import Answer, Language, Outcome, Prediction, Provenance, Refusal, Source

PROVENANCE = Provenance("models:/dl_finetuned_model/3", "models:/m-1")
ANSWER = Answer(Prediction("positive", 0.97, False), Language("en", True, 0.9), PROVENANCE)
REFUSAL = Refusal("validate", "null", PROVENANCE)

NUMBERS = st.floats(0, 1)
ANSWERS = st.builds(
    Answer,
    prediction=st.builds(
        Prediction,
        label=st.text(),
        score=NUMBERS,
        scores=st.none() | st.dictionaries(st.text(), NUMBERS, min_size=1),
    ),
    language=st.builds(Language, code=st.text(), probability=NUMBERS),
    provenance=st.builds(Provenance),
)


def changed(**parts: Any) -> str:
    return json.dumps(json.loads(ANSWER.to_record()) | parts)


def test_an_answer_has_the_fields_of_the_contract() -> None:
    assert ANSWER.document(cached=True) == {
        "response": {"prediction_label": "positive", "prediction_score": 0.97},
        "metadata": {
            "language_detected": "en",
            "language_reliable": True,
            "language_probability": 0.9,
            "truncated": False,
            "cached": True,
        },
        "model_metadata": {
            "finetuned_model_uri": "models:/dl_finetuned_model/3",
            "inference_pipeline_model_uri": "models:/m-1",
        },
    }


def test_an_answer_has_the_probability_of_each_label_only_if_it_was_asked_for() -> None:
    scores = {"positive": 0.97, "négative": 0.03}
    answer = replace(ANSWER, prediction=replace(ANSWER.prediction, scores=scores))
    response = answer.document(cached=False)["response"]
    assert response == {
        "prediction_label": "positive",
        "prediction_score": 0.97,
        "prediction_scores": scores,
    }
    assert answer.without_scores() == ANSWER
    assert "scores" not in ANSWER.to_record()


def test_a_refusal_has_the_same_fields_without_values_and_an_error() -> None:
    refused = Refusal("validate", "null", PROVENANCE).document()
    answered = ANSWER.document(cached=False)
    assert refused["response"] is None
    assert refused["error"] == {"step": "validate", "reason": "null"}
    assert refused["metadata"].keys() == answered["metadata"].keys()
    assert refused["metadata"] == dict.fromkeys(answered["metadata"]) | {"cached": False}
    assert refused["model_metadata"] == answered["model_metadata"]


def test_a_refusal_shows_the_language_if_it_was_detected() -> None:
    refusal = Refusal("language", "not wanted", PROVENANCE, Language("fr", True, 0.8))
    assert refusal.document()["metadata"] == {
        "language_detected": "fr",
        "language_reliable": True,
        "language_probability": 0.8,
        "truncated": None,
        "cached": False,
    }


@pytest.mark.parametrize(
    ("source", "cached"), [("computed", False), ("repeated", True), ("cached", True)]
)
def test_an_answered_row_says_whether_it_paid(source: Source, cached: bool) -> None:
    outcome = Outcome(ANSWER, None, source)
    assert outcome.document() == ANSWER.document(cached=cached)
    assert outcome.language == ANSWER.language


def test_a_refused_row_has_the_document_of_its_refusal() -> None:
    outcome = Outcome(None, REFUSAL, "refused")
    assert outcome.document() == REFUSAL.document()
    assert outcome.language is None


@pytest.mark.parametrize("answer", [ANSWER, None])
@pytest.mark.parametrize("refusal", [REFUSAL, None])
@pytest.mark.parametrize("source", get_args(Source))
def test_a_row_has_an_answer_or_a_refusal_and_a_source_that_fits(
    answer: Answer | None, refusal: Refusal | None, source: Source
) -> None:
    fits = (answer is None) == (source == "refused") and (answer is None) != (refusal is None)
    if fits:
        Outcome(answer, refusal, source)
    else:
        with pytest.raises(ValueError, match="expected"):
            Outcome(answer, refusal, source)


def test_an_equal_row_repeats_what_was_computed_and_nothing_else() -> None:
    sources: list[Source] = ["computed", "repeated", "cached"]
    again = [Outcome(ANSWER, None, source).as_repeated().source for source in sources]
    assert again == ["repeated", "repeated", "cached"]
    assert Outcome(None, REFUSAL, "refused").as_repeated().source == "refused"


@pytest.mark.parametrize("cached", [True, False])
def test_an_answer_says_whether_this_call_computed_it(cached: bool) -> None:
    assert ANSWER.document(cached=cached)["metadata"]["cached"] is cached


@given(ANSWERS)
def test_an_answer_survives_its_record(answer: Answer) -> None:
    assert Answer.from_record(answer.to_record()) == answer


@pytest.mark.parametrize(
    "record",
    [
        "",
        "noise",
        "null",
        "7",
        "[]",
        "{}",
        '"text"',
        "[" * 100_000,
        changed(prediction=None),
        changed(prediction={"label": "positive"}),
        changed(prediction={"label": "positive", "score": "0.9", "truncated": False}),
        changed(prediction={"label": None, "score": 0.9, "truncated": False}),
        changed(prediction={"label": "positive", "score": 0.9, "truncated": 0}),
        changed(prediction={"label": "positive", "score": 0.9, "truncated": False, "more": 1}),
        changed(prediction={"label": "a", "score": 0.9, "truncated": False, "scores": [0.9]}),
        changed(prediction={"label": "a", "score": 0.9, "truncated": False, "scores": {"a": 1}}),
        changed(language="en"),
        changed(language={"code": ["en"], "reliable": True, "probability": 0.9}),
        changed(provenance=["models:/dl_finetuned_model/3", "models:/m-1"]),
        changed(provenance={"finetuned_model_uri": 3, "inference_pipeline_model_uri": "m"}),
    ],
)
def test_a_record_of_another_shape_is_a_value_error(record: str) -> None:
    with pytest.raises(ValueError, match="not that of an answer"):
        Answer.from_record(record)
