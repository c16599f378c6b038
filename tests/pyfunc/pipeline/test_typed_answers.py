"""The typed answers say who paid for them, and the documents are made of them."""

import json
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfunc.cache.cache import PredictionCache
from pyfunc.contract import Answers, Language, Outcome, to_json
from pyfunc.engines.torch import TorchEngine
from pyfunc.fingerprint import fingerprint_pipeline
from pyfunc.pipeline import InferencePipeline
from pyfunc.spec import PipelineSpec
from tests.pyfunc.pipeline.documents import answer, opened
from tests.pyfunc.pipeline.texts import ANY_ROW, ODD, ORIGINAL, unhurried
from tests.support.builders import weights_of
from tests.support.tiny_models import LABELS


def with_cache_in(pipeline: InferencePipeline, folder: Path) -> InferencePipeline:
    cache = PredictionCache(folder, "f")
    return InferencePipeline(pipeline._composition, pipeline.detector, cache)


def outcome(row: Outcome) -> Any:
    """Return all but the source, equal to another's within 1e-5 in the score."""
    return answer(row.document())


@unhurried
@given(st.lists(ANY_ROW, max_size=8), st.booleans())
def test_the_documents_are_those_of_the_typed_answers(
    pipeline: InferencePipeline, rows: list[object], use_cache: bool
) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        typed, documents = (with_cache_in(pipeline, Path(name)) for name in (one, other))
        for _ in range(2):
            answers = typed.answer(rows, use_cache=use_cache, batch_tokens=64)
            assert [to_json(row.document()) for row in answers.outcomes] == documents.predict(
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
    engines = {"model": TorchEngine(weights_of(artifact) / "classifier", "f32")}
    assert cold.fingerprint == fingerprint_pipeline(artifact, PipelineSpec.read(artifact), engines)
    assert cold.labels == list(LABELS)


def test_a_pipeline_counts_the_texts_that_its_cache_has(cold: InferencePipeline) -> None:
    assert cold.count_stored(ORIGINAL) == 0
    cold.predict(ORIGINAL[:2], use_cache=True, batch_tokens=64)
    assert cold.count_stored(ORIGINAL) == 3  # the second text comes twice
    cold.predict(ORIGINAL, use_cache=False, batch_tokens=64)
    assert cold.count_stored(iter(ORIGINAL)) == 3


def test_stored_answers_serve_calls_that_ask_for_all_scores_only_if_they_have_them(
    cold: InferencePipeline,
) -> None:
    def ask(texts: list[str], *, all_scores: bool) -> tuple[list[str], list[set[str] | None]]:
        answers = cold.answer(texts, use_cache=True, batch_tokens=64, all_scores=all_scores)
        found = [row.answer.prediction for row in answers.outcomes if row.answer]
        for prediction in found:
            if prediction.scores:
                assert prediction.scores[prediction.label] == prediction.score
                assert sum(prediction.scores.values()) == pytest.approx(1)
        sources: list[str] = [row.source for row in answers.outcomes]
        return sources, [p.scores if p.scores is None else set(p.scores) for p in found]

    labels = set(LABELS)
    assert ask(["a", "b"], all_scores=False) == (["computed"] * 2, [None] * 2)
    assert cold.count_stored(["a", "b"], all_scores=True) == 0
    assert ask(["a", "a"], all_scores=True) == (["computed", "repeated"], [labels] * 2)
    assert [cold.count_stored(["a", "b"], all_scores=wanted) for wanted in (True, False)] == [1, 2]
    assert ask(["a", "b"], all_scores=True) == (["cached", "computed"], [labels] * 2)
    assert ask(["a", "b"], all_scores=False) == (["cached"] * 2, [None] * 2)
    assert ask(["a", "b"], all_scores=True) == (["cached"] * 2, [labels] * 2)
    (document,) = cold.predict(["a"], use_cache=True, batch_tokens=64, all_scores=True)
    assert set(json.loads(document)["response"]["prediction_scores"]) == labels


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
