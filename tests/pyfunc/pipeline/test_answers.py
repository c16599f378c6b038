"""What an answer holds, which of them the cache keeps, and what is logged of their texts."""

import logging
from pathlib import Path
from typing import Any

import pytest

from pyfunc.batching import DEFAULT_BATCH_TOKENS
from pyfunc.errors import PredictParameterError
from pyfunc.pipeline import MAX_CHARACTERS, InferencePipeline
from pyfunc.plain_pipeline import PlainPipeline
from tests.pyfunc.pipeline.documents import MODEL_URI, cached, opened
from tests.pyfunc.pipeline.texts import ORIGINAL
from tests.support.builders import ask_pipeline, build_artifact
from tests.support.tiny_models import LABELS

# The answers


def without_cached(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for document in documents:
        del document["metadata"]["cached"]
    return documents


def test_the_four_texts_of_the_original_are_answered_as_it_answered_them(
    cold: InferencePipeline,
) -> None:
    first, second = ask_pipeline(cold, ORIGINAL), ask_pipeline(cold, ORIGINAL)
    assert [row["metadata"]["language_detected"] for row in first] == ["en", "en", "en", "zh"]
    assert cached(first) == [False, False, True, False]
    assert cached(second) == [True] * 4
    assert without_cached(second) == without_cached(first)


def test_an_answer_has_the_fields_of_the_contract_and_both_uris(cold: InferencePipeline) -> None:
    (document,) = ask_pipeline(cold, ["Great movie"])
    assert document["response"]["prediction_label"] in LABELS
    assert 0.5 <= document["response"]["prediction_score"] <= 1
    assert document["metadata"] == {
        "language_detected": "en",
        "language_reliable": False,
        "language_probability": pytest.approx(0.62, abs=0.01),
        "truncated": False,
        "cached": False,
    }
    assert document["model_metadata"] == {
        "finetuned_model_uri": "models:/dl_finetuned_model/1",
        "inference_pipeline_model_uri": MODEL_URI,
    }
    assert "error" not in document


@pytest.mark.parametrize("text", ["2024", "😀👍🏽", "?!", " 12 34\n", "½ ²", "👩‍👩‍👧‍👦"])
def test_a_text_without_letters_is_answered_with_an_undetermined_language(
    cold: InferencePipeline, text: str
) -> None:
    (document,) = ask_pipeline(cold, [text])
    assert document["response"]["prediction_label"] in LABELS
    assert document["metadata"]["language_detected"] == "und"
    assert document["metadata"]["language_reliable"] is False


def test_a_text_longer_than_the_model_reads_says_that_it_was_cut(cold: InferencePipeline) -> None:
    documents = ask_pipeline(cold, ["good " * 14, "good " * 15])
    assert [row["metadata"]["truncated"] for row in documents] == [False, True]
    again = ask_pipeline(cold, ["good " * 14, "good " * 15])
    assert [row["metadata"]["truncated"] for row in again] == [False, True]


def test_no_rows_have_no_answers(cold: InferencePipeline) -> None:
    assert cold.predict([], use_cache=True, batch_tokens=1) == []
    assert cold.predict([], use_cache=False, batch_tokens=1) == []


# The cache


def test_without_the_cache_nothing_is_read(cold: InferencePipeline) -> None:
    ask_pipeline(cold, ORIGINAL)
    assert cached(ask_pipeline(cold, ORIGINAL, use_cache=False)) == [False] * 4


def test_without_the_cache_nothing_is_written(cold: InferencePipeline) -> None:
    assert cached(ask_pipeline(cold, ORIGINAL, use_cache=False)) == [False] * 4
    assert cached(ask_pipeline(cold, ORIGINAL)) == [False, False, True, False]


def test_a_version_finds_the_answers_of_an_equal_one_and_not_those_of_another(
    artifact: Path, tiny_classifier: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    ask_pipeline(opened(artifact, cache), ORIGINAL)
    equal = build_artifact(tmp_path / "equal", tiny_classifier, finetuned_model_uri="models:/f/2")
    shorter = build_artifact(tmp_path / "shorter", tiny_classifier, max_tokens=3)
    found = ask_pipeline(opened(equal, cache), ORIGINAL)
    assert cached(found) == [True] * 4
    assert {row["model_metadata"]["finetuned_model_uri"] for row in found} == {
        "models:/dl_finetuned_model/1"
    }
    other = ask_pipeline(opened(shorter, cache), ORIGINAL)
    assert cached(other) == [False, False, True, False]
    assert other[0]["metadata"]["truncated"] is True


# What is said


def test_texts_that_are_not_english_are_logged_once_a_batch_with_a_count(
    cold: InferencePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="pyfunc")
    french = "Ceci est une phrase française au sujet d'un film que j'ai beaucoup aimé."
    for use_cache in (True, True, False):
        caplog.clear()
        ask_pipeline(cold, [*ORIGINAL, french, french, None], use_cache=use_cache)
        assert [record.getMessage() for record in caplog.records] == [
            "3 of 6 texts are not English"
        ]


def test_english_texts_are_not_worth_a_line(
    cold: InferencePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="pyfunc")
    ask_pipeline(cold, ORIGINAL[:3])
    assert caplog.records == []


def test_no_log_line_error_or_refusal_quotes_a_text(
    artifact: Path, plain: PlainPipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="pyfunc")
    secret = "Xylophon"
    rows = [
        f"{secret} est une phrase française au sujet d'un film que j'ai beaucoup aimé.",
        f"{secret}\ud800",
        [secret],
        secret.encode(),
        {secret: secret},
        secret * (MAX_CHARACTERS // 4),
        f"{secret}\0" * 30,
    ]
    (tmp_path / "file").touch()
    for cache in (tmp_path / "cache", tmp_path / "file"):
        for use_cache in (True, True, False):
            documents = opened(artifact, cache).predict(
                rows, use_cache=use_cache, batch_tokens=DEFAULT_BATCH_TOKENS
            )
            assert secret not in "".join(documents)
    for row in rows[1:6]:
        with pytest.raises(PredictParameterError) as error:
            plain.predict([row])
        assert secret not in str(error.value)
    assert "are not English" in caplog.text
    assert "prediction cache" in caplog.text
    assert secret not in caplog.text
