import json
import logging
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pyfunc.batching import DEFAULT_BATCH_TOKENS
from pyfunc.cache import PredictionCache
from pyfunc.contract import Answers, Language, Outcome
from pyfunc.errors import ArtifactError, PredictParameterError
from pyfunc.fingerprint import fingerprint_pipeline
from pyfunc.pipeline import MAX_CHARACTERS, InferencePipeline, PlainPipeline, open_pipeline
from pyfunc.spec import PipelineSpec, Variant
from pyfunc.torch_engine import TorchEngine
from tests.builders import ask_pipeline, build_artifact, one_torch_thread
from tests.conftest import LABELS

ORIGINAL = ["what a disappointing movie", "Great movie", "Great movie", "很好看的电影"]

MODEL_URI = "models:/m-1"

TORCH = Variant("torch", "f32")

NOT_TEXT: dict[str, tuple[object, str]] = {
    "None": (None, "null"),
    "float NaN": (float("nan"), "null"),
    "numpy NaN": (np.float64("nan"), "null"),
    "pandas NA": (pd.NA, "null"),
    "pandas NaT": (pd.NaT, "not text but NaTType"),
    "integer": (7, "not text but int"),
    "float": (7.5, "not text but float"),
    "boolean": (True, "not text but bool"),
    "bytes": (b"Great movie", "not text but bytes"),
    "list": (["Great movie"], "not text but list"),
    "dictionary": ({"text": "Great movie"}, "not text but dict"),
    "array": (np.array(["Great", "movie"]), "not text but ndarray"),
    "lone surrogate": ("Great \ud83d movie", "not encodable as UTF-8"),
    "two surrogates": ("\udc00\ud800", "not encodable as UTF-8"),
    "empty": ("", "empty"),
    "spaces": (" \t\r\n\u3000\u2028", "empty"),
    "zero-width": ("\u200b\u200d\ufeff\u2060", "empty"),
    "null characters": ("\0\0", "empty"),
    "too long": ("a" * (MAX_CHARACTERS + 1), f"longer than {MAX_CHARACTERS} characters"),
}

LONG = [
    "a" * 100_000,
    "很" * 100_000,
    "very " * 20_000,
    "a" + "\u0301" * 99_999,
    "😀" * 100_000,
    "\0a" * 50_000,
    "." * 100_000,
]

ODD = [
    "\0",
    "\0 Great movie",
    "\x1b[31mGreat\x7f movie\x96",
    "Z̷̡̛a̵l̸g̶o̵ m̴o̷v̸i̵e",
    "\u202eeivom taerG",
    "فيلم رائع جدا",
    "סרט נהדר",
    "👩‍👩‍👧‍👦 🏳️‍🌈",
    "[MASK] [SEP] [PAD]",
    '{"response": null}',
    "\ufffe\uffff\U0010ffff",
    "\ue000",
    "ᚠᚢᚦ 𐌰𐌱𐌲 𝓖𝓻𝓮𝓪𝓽",
]

ANY_TEXT = (
    st.text()
    | st.sampled_from(ODD)
    | st.text(st.characters(codec="utf-8", categories=["M", "C", "Z"]))
    | st.lists(st.sampled_from(["great", "bad", "a", "film", "\0", "很", "."]), max_size=40).map(
        " ".join
    )
)

ANY_ROW = ANY_TEXT | st.sampled_from([value for value, _ in NOT_TEXT.values()][:-1])

unhurried = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with one_torch_thread():
        yield


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory, tiny_classifier: Path) -> Path:
    return build_artifact(tmp_path_factory.mktemp("artifact") / "full", tiny_classifier)


@pytest.fixture(scope="module")
def pipeline(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> InferencePipeline:
    """A pipeline whose cache lives as long as the module."""
    return opened(artifact, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def cold(artifact: Path, tmp_path: Path) -> InferencePipeline:
    """A pipeline whose cache is empty."""
    return opened(artifact, tmp_path / "cache")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, tiny_classifier: Path) -> PlainPipeline:
    folder = tmp_path_factory.mktemp("artifact") / "plain"
    pipeline = open_pipeline(
        build_artifact(folder, tiny_classifier, kind="plain"), model_uri=MODEL_URI
    )
    assert isinstance(pipeline, PlainPipeline)
    return pipeline


def opened(artifact: Path, cache: Path) -> InferencePipeline:
    pipeline = open_pipeline(artifact, model_uri=MODEL_URI, model_config={"cache_dir": str(cache)})
    assert isinstance(pipeline, InferencePipeline)
    return pipeline


def with_cache_in(pipeline: InferencePipeline, folder: Path) -> InferencePipeline:
    cache = PredictionCache(folder, "f")
    return InferencePipeline(pipeline._classifier, pipeline._detector, cache, pipeline._provenance)


def answer(document: dict[str, Any]) -> Any:
    """Return every field but `cached`, equal to another's within 1e-5 in the score."""
    response, metadata = document["response"], document["metadata"]
    return document | {
        "metadata": {name: value for name, value in metadata.items() if name != "cached"},
        "response": response
        and response | {"prediction_score": pytest.approx(response["prediction_score"], abs=1e-5)},
    }


def outcome(row: Outcome) -> Any:
    """Return all but the source, equal to another's within 1e-5 in the score."""
    return answer(json.loads(row.to_document()))


def without_cached(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for document in documents:
        del document["metadata"]["cached"]
    return documents


def cached(documents: list[dict[str, Any]]) -> list[bool]:
    return [document["metadata"]["cached"] for document in documents]


# The answers


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


# The typed answers


@unhurried
@given(st.lists(ANY_ROW, max_size=8), st.booleans())
def test_the_documents_are_those_of_the_typed_answers(
    pipeline: InferencePipeline, rows: list[object], use_cache: bool
) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        typed, documents = (with_cache_in(pipeline, Path(name)) for name in (one, other))
        for _ in range(2):
            answers = typed.answer(rows, use_cache=use_cache, batch_tokens=64)
            assert [row.to_document() for row in answers.outcomes] == documents.predict(
                rows, use_cache=use_cache, batch_tokens=64
            )


@unhurried
@given(st.lists(st.sampled_from([*ORIGINAL, *ODD, None, "", 7]), max_size=12), st.booleans())
def test_sources_add_up_and_answers_are_those_without_the_cache(
    pipeline: InferencePipeline, rows: list[object], refused: bool
) -> None:
    def rule(language: Language) -> str:
        return "not wanted" if refused and language.code == "zh" else ""

    def count(answers: Answers) -> Counter[str]:
        return Counter(row.source for row in answers.outcomes)

    with tempfile.TemporaryDirectory() as name:
        cold = with_cache_in(pipeline, Path(name))
        without = cold.answer(rows, use_cache=False, batch_tokens=64, refuse=rule)
        first = cold.answer(rows, use_cache=True, batch_tokens=64, refuse=rule)
        second = cold.answer(rows, use_cache=True, batch_tokens=64, refuse=rule)
    for answers in (without, first, second):
        assert [row.source == "refused" for row in answers.outcomes] == [
            row.refusal is not None for row in answers.outcomes
        ]
        assert len(answers.outcomes) == count(answers).total() == len(rows)
        assert answers.model_calls == count(answers)["computed"]
        assert answers.cache_failures == 0
        assert [outcome(row) for row in answers.outcomes] == [
            outcome(row) for row in without.outcomes
        ]
    texts = {row for row, found in zip(rows, first.outcomes, strict=True) if found.answer}
    assert count(without).keys() <= {"computed", "refused"}
    assert count(first)["computed"] == len(texts)
    assert count(first)["cached"] == 0
    assert count(second)["cached"] == len(rows) - count(second)["refused"]


def test_who_paid_is_told_row_by_row(cold: InferencePipeline) -> None:
    cold.predict(["a film"], use_cache=True, batch_tokens=64)
    answers = cold.answer(["new", "a film", "new", None], use_cache=True, batch_tokens=64)
    assert [row.source for row in answers.outcomes] == [
        "computed",
        "cached",
        "repeated",
        "refused",
    ]
    assert answers.model_calls == 1
    assert answers.model_seconds > 0


def test_time_spent_with_the_cache_alone_is_not_the_models(cold: InferencePipeline) -> None:
    cold.predict(ORIGINAL, use_cache=True, batch_tokens=64)
    answers = cold.answer(ORIGINAL, use_cache=True, batch_tokens=64)
    assert answers.model_calls == 0
    assert answers.model_seconds < 0.001


def test_failures_of_the_cache_are_those_of_the_call(artifact: Path, tmp_path: Path) -> None:
    pipeline = opened(artifact, tmp_path / "cache")
    pipeline.predict(ORIGINAL, use_cache=True, batch_tokens=64)
    with closing(sqlite3.connect(tmp_path / "cache" / "cache.db")) as database:
        database.execute("UPDATE Cache SET value = 'garbage' WHERE rowid < 3")
        database.commit()
    failures = [
        pipeline.answer(ORIGINAL, use_cache=use_cache, batch_tokens=64).cache_failures
        for use_cache in (False, True, True)
    ]
    assert failures == [0, 2, 0]


def test_a_pipeline_tells_its_fingerprint_and_its_labels(
    artifact: Path, cold: InferencePipeline
) -> None:
    engine = TorchEngine(artifact / "classifier", "f32")
    assert cold.fingerprint == fingerprint_pipeline(artifact, 16, engine)
    assert cold.labels == list(LABELS)


def test_a_pipeline_counts_the_texts_that_its_cache_has(cold: InferencePipeline) -> None:
    assert cold.count_stored(ORIGINAL) == 0
    cold.predict(ORIGINAL[:2], use_cache=True, batch_tokens=64)
    assert cold.count_stored(ORIGINAL) == 3  # the second text comes twice
    cold.predict(ORIGINAL, use_cache=False, batch_tokens=64)
    assert cold.count_stored(iter(ORIGINAL)) == 3


def test_a_model_that_mlflow_loads_hands_out_its_pipeline(artifact: Path, tmp_path: Path) -> None:
    mlflow.pyfunc.save_model(
        tmp_path / "model",
        python_model=str(artifact / "pyfunc" / "model.py"),
        artifacts={"pipeline": str(artifact)},
        model_config={"cache_dir": "", "cache_size_limit": ""},
        pip_requirements=[],
    )
    config = {"cache_dir": str(tmp_path / "cache"), "cache_size_limit": 2**20}
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"), model_config=config)
    pipeline = model.unwrap_python_model().pipeline
    answers = pipeline.answer(ORIGINAL, use_cache=True, batch_tokens=64)
    assert [row.source for row in answers.outcomes] == [
        "computed",
        "computed",
        "repeated",
        "computed",
    ]
    assert pipeline.labels == list(LABELS)
    assert (tmp_path / "cache" / "cache.db").is_file()


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


# What an answer does not depend on


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


# What is said


def test_texts_that_are_not_english_are_logged_once_a_batch_with_a_count(
    cold: InferencePipeline, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="pyfunc")
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


# The plain pipeline


def test_a_plain_pipeline_answers_the_bare_labels_of_the_full_one(
    plain: PlainPipeline, cold: InferencePipeline
) -> None:
    texts = [*ORIGINAL, *(f"film number {number}" for number in range(20))]
    labels = plain.predict(texts)
    full = ask_pipeline(cold, texts)
    assert labels == [document["response"]["prediction_label"] for document in full]
    assert set(labels) == set(LABELS)
    assert plain.predict(texts, use_cache=True, batch_tokens=1) == labels
    assert plain.predict([]) == []


@pytest.mark.parametrize(("row", "reason"), NOT_TEXT.values(), ids=list(NOT_TEXT))
def test_a_plain_pipeline_refuses_what_is_not_text_by_its_row(
    plain: PlainPipeline, row: object, reason: str
) -> None:
    with pytest.raises(PredictParameterError, match=f"row 1: expected a text, got: {reason}"):
        plain.predict(["Great movie", row])


def test_a_plain_pipeline_makes_no_cache(
    tiny_classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLSTREAM_HOME", str(tmp_path / "home"))
    folder = build_artifact(tmp_path / "plain", tiny_classifier, kind="plain")
    open_pipeline(folder, model_uri=MODEL_URI).predict(ORIGINAL, use_cache=True, batch_tokens=8)
    assert not (tmp_path / "home").exists()


# The artifact


def test_the_settings_survive_their_file(tmp_path: Path) -> None:
    spec = PipelineSpec("plain", "models:/été/3", 17, (Variant("openvino", "bf16"), TORCH))
    spec.write(tmp_path)
    assert PipelineSpec.read(tmp_path) == spec


GOOD_VARIANT = {"engine": "torch", "precision": "f32"}
GOOD_SPEC = {
    "kind": "full",
    "finetuned_model_uri": "f",
    "max_tokens": 16,
    "variants": [GOOD_VARIANT],
}


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "noise",
        "null",
        "[]",
        "{}",
        "\ud800",
        json.dumps(GOOD_SPEC | {"more": 1}),
        json.dumps({name: GOOD_SPEC[name] for name in ("kind", "variants")}),
        json.dumps(GOOD_SPEC | {"kind": "fuller"}),
        json.dumps(GOOD_SPEC | {"variants": None}),
        json.dumps(GOOD_SPEC | {"variants": []}),
        json.dumps(GOOD_SPEC | {"variants": ["torch f32"]}),
        json.dumps(GOOD_SPEC | {"variants": [{"engine": "torch"}]}),
        json.dumps(GOOD_SPEC | {"variants": [GOOD_VARIANT | {"device": "cpu"}]}),
        json.dumps(GOOD_SPEC | {"variants": [GOOD_VARIANT | {"engine": "onnx"}]}),
        json.dumps(GOOD_SPEC | {"variants": [GOOD_VARIANT, GOOD_VARIANT | {"precision": "f16"}]}),
        json.dumps({"precision": "f32"} | {n: v for n, v in GOOD_SPEC.items() if n != "variants"}),
        json.dumps(GOOD_SPEC | {"max_tokens": "16"}),
        json.dumps(GOOD_SPEC | {"max_tokens": True}),
        json.dumps(GOOD_SPEC | {"finetuned_model_uri": None}),
    ],
)
def test_settings_that_cannot_be_used_are_an_error_that_names_the_file(
    tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "pipeline.json").write_bytes(content.encode(errors="surrogatepass"))
    with pytest.raises(ArtifactError) as error:
        open_pipeline(tmp_path, model_uri=MODEL_URI)
    assert str(error.value).startswith(f"{tmp_path / 'pipeline.json'}: expected the settings")


def test_an_artifact_without_its_classifier_is_an_error_that_names_the_folder(
    tmp_path: Path,
) -> None:
    PipelineSpec("full", "f", 16, (TORCH,)).write(tmp_path)
    with pytest.raises(ArtifactError, match=f"{tmp_path / 'classifier'}: expected a classifier"):
        open_pipeline(tmp_path, model_uri=MODEL_URI)
