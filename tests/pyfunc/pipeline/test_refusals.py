"""What is refused is refused by name, and the rows beside it are answered."""

import pytest

from pyfunc.contract import Language
from pyfunc.errors import PredictParameterError
from pyfunc.pipeline import InferencePipeline
from pyfunc.plain_pipeline import PlainPipeline
from tests.pyfunc.pipeline.documents import cached
from tests.pyfunc.pipeline.texts import NOT_TEXT, ORIGINAL
from tests.support.builders import ask_pipeline
from tests.support.tiny_models import LABELS

# A rule that refuses languages


def not_chinese(language: Language) -> str:
    return f"not wanted: {language.code}" if language.code == "zh" else ""


@pytest.mark.parametrize("use_cache", [True, False])
def test_a_text_of_a_refused_language_is_refused_and_the_others_are_answered(
    cold: InferencePipeline, use_cache: bool
) -> None:
    answers = cold.answer(ORIGINAL, use_cache=use_cache, batch_tokens=64, refuse=not_chinese)
    refusal = answers.outcomes[3].refusal
    assert refusal
    assert (refusal.step, refusal.reason) == ("language", "not wanted: zh")
    assert refusal.language
    assert refusal.language.code == "zh"
    assert [row.answer is not None for row in answers.outcomes] == [True, True, True, False]
    assert answers.model_calls == (2 if use_cache else 3)


def test_a_refused_text_is_neither_predicted_nor_stored(cold: InferencePipeline) -> None:
    for _ in range(2):
        answers = cold.answer(
            [ORIGINAL[3]] * 2, use_cache=True, batch_tokens=64, refuse=not_chinese
        )
        assert [row.source for row in answers.outcomes] == ["refused"] * 2
        assert answers.model_calls == 0
    assert cold._cache.get_many(ORIGINAL) == {}
    (row,) = cold.answer([ORIGINAL[3]], use_cache=True, batch_tokens=64).outcomes
    assert row.source == "computed"


def test_a_cached_answer_is_refused_as_a_computed_one_is(cold: InferencePipeline) -> None:
    computed = cold.answer(ORIGINAL, use_cache=False, batch_tokens=64, refuse=not_chinese)
    cold.predict(ORIGINAL, use_cache=True, batch_tokens=64)
    cached = cold.answer(ORIGINAL, use_cache=True, batch_tokens=64, refuse=not_chinese)
    assert [row.source for row in cached.outcomes] == ["cached"] * 3 + ["refused"]
    assert cached.outcomes[3] == computed.outcomes[3]
    (again,) = cold.answer([ORIGINAL[3]], use_cache=True, batch_tokens=64).outcomes
    assert again.source == "cached"


# What is refused


@pytest.mark.parametrize(("row", "reason"), NOT_TEXT.values(), ids=list(NOT_TEXT))
def test_what_is_not_text_is_refused_by_name_and_the_rows_beside_it_are_answered(
    cold: InferencePipeline, row: object, reason: str
) -> None:
    before, refused, after = ask_pipeline(cold, ["Great movie", row, "Great movie"])
    assert refused["response"] is None
    assert refused["error"] == {"step": "validate", "reason": reason}
    assert refused["metadata"]["cached"] is False
    assert refused["model_metadata"] == before["model_metadata"]
    assert (cached([before]), cached([after])) == ([False], [True])
    assert before["response"] == after["response"]
    assert before["response"]["prediction_label"] in LABELS


@pytest.mark.parametrize("batch_tokens", [0, -1])
def test_bad_batch_tokens_are_an_error_that_names_them(
    cold: InferencePipeline, plain: PlainPipeline, batch_tokens: int
) -> None:
    for pipeline in (cold, plain):
        with pytest.raises(PredictParameterError, match=f"batch_tokens: .*, got {batch_tokens}"):
            pipeline.predict(["Great movie"], use_cache=False, batch_tokens=batch_tokens)
