"""A plain pipeline answers bare labels, refuses what is not text and keeps nothing."""

from pathlib import Path

import pytest

from pyfunc.errors import PredictParameterError
from pyfunc.opening import open_pipeline
from pyfunc.pipeline import InferencePipeline
from pyfunc.plain_pipeline import PlainPipeline
from tests.pyfunc.pipeline.documents import MODEL_URI
from tests.pyfunc.pipeline.texts import NOT_TEXT, ORIGINAL
from tests.support.builders import ask_pipeline, build_artifact
from tests.support.tiny_models import LABELS


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


def test_a_plain_pipeline_has_labels_and_no_scores(plain: PlainPipeline) -> None:
    with pytest.raises(PredictParameterError, match="all_scores: expected false"):
        plain.predict(["Great movie"], all_scores=True)


def test_a_plain_pipeline_makes_no_cache(
    tiny_classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLSTREAM_HOME", str(tmp_path / "home"))
    folder = build_artifact(tmp_path / "plain", tiny_classifier, kind="plain")
    open_pipeline(folder, model_uri=MODEL_URI).predict(ORIGINAL, use_cache=True, batch_tokens=8)
    assert not (tmp_path / "home").exists()
