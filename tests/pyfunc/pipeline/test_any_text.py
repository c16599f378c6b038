"""Any text is answered or refused, alike whatever its company, batch and thread."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pyfunc.pipeline import MAX_CHARACTERS, InferencePipeline
from tests.pyfunc.pipeline.documents import answer, cached
from tests.pyfunc.pipeline.texts import ANY_ROW, ANY_TEXT, ODD, ORIGINAL, unhurried
from tests.support.builders import ask_pipeline
from tests.support.tiny_models import LABELS

LONG = [
    "a" * 100_000,
    "很" * 100_000,
    "very " * 20_000,
    "a" + "\u0301" * 99_999,
    "😀" * 100_000,
    "\0a" * 50_000,
    "." * 100_000,
]


@unhurried
@given(st.lists(ANY_ROW, max_size=8), st.booleans())
def test_answers_to_a_batch_are_the_answers_to_its_rows(
    pipeline: InferencePipeline, rows: list[object], use_cache: bool
) -> None:
    batch = ask_pipeline(pipeline, rows, use_cache=use_cache)
    alone = [ask_pipeline(pipeline, [row], use_cache=False)[0] for row in rows]
    assert [answer(document) for document in batch] == [answer(document) for document in alone]


@unhurried
@given(st.lists(ANY_ROW, min_size=1, max_size=8), st.data())
def test_an_answer_does_not_depend_on_order_batch_size_or_company(
    pipeline: InferencePipeline, rows: list[object], data: st.DataObject
) -> None:
    expected = ask_pipeline(pipeline, rows, use_cache=False)
    company = data.draw(st.lists(ANY_ROW, max_size=6))
    order = data.draw(st.permutations(range(len(rows) + len(company))))
    crowd = [*rows, *company]
    batch_tokens = data.draw(st.integers(1, 300))
    shuffled = ask_pipeline(
        pipeline, [crowd[row] for row in order], use_cache=False, batch_tokens=batch_tokens
    )
    back = dict(zip(order, shuffled, strict=True))
    assert [answer(back[row]) for row in range(len(rows))] == [answer(row) for row in expected]


@unhurried
@given(st.lists(ANY_ROW, max_size=8))
def test_cached_answers_are_the_computed_ones(
    pipeline: InferencePipeline, rows: list[object]
) -> None:
    computed = ask_pipeline(pipeline, rows, use_cache=False)
    ask_pipeline(pipeline, rows)
    looked_up = ask_pipeline(pipeline, rows)
    assert [answer(document) for document in looked_up] == [answer(row) for row in computed]
    assert cached(looked_up) == [row["response"] is not None for row in looked_up]
    assert not any(cached(computed))


@settings(deadline=None, max_examples=200)
@given(ANY_TEXT)
@example("\0")
@example("\u0301")
def test_any_text_is_answered_or_refused_by_name(pipeline: InferencePipeline, text: str) -> None:
    (document,) = ask_pipeline(pipeline, [text])
    if document["response"] is None:
        assert document["error"] == {"step": "validate", "reason": "empty"}
        assert not any(character.isprintable() for character in text.replace(" ", ""))
    else:
        assert document["response"]["prediction_label"] in LABELS
        assert 0 <= document["response"]["prediction_score"] <= 1
        assert document["metadata"]["language_detected"]


@pytest.mark.parametrize("text", LONG, ids=lambda text: f"{text[:2]!a}")
def test_a_text_of_100000_characters_is_answered(cold: InferencePipeline, text: str) -> None:
    assert len(text) == 100_000
    document, beside = ask_pipeline(cold, [text, "Great movie"])
    assert document["response"]["prediction_label"] in LABELS
    assert answer(beside) == ask_pipeline(cold, ["Great movie"], use_cache=False)[0] | answer(
        beside
    )
    assert cached(ask_pipeline(cold, [text])) == [True]


def test_the_longest_text_that_is_read_is_answered(cold: InferencePipeline) -> None:
    (document,) = ask_pipeline(cold, ["good" * (MAX_CHARACTERS // 4)])
    assert document["response"]["prediction_label"] in LABELS


def test_threads_that_ask_at_once_get_the_answers_they_would_get_alone(
    cold: InferencePipeline,
) -> None:
    batches = [[f"{text} {number % 7}" for text in ORIGINAL + ODD] for number in range(24)]
    alone = [ask_pipeline(cold, batch, use_cache=False) for batch in batches]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda batch: ask_pipeline(cold, batch), batches))
    for one, other in zip(together, alone, strict=True):
        assert [answer(document) for document in one] == [answer(document) for document in other]
