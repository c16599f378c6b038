"""Windows of texts on their way through the engine: each text gets its own result, once."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event, Lock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyfunc import inference
from pyfunc.classifier import Classifier
from pyfunc.composition.composition import Composition
from pyfunc.contract import Answer, Language, Provenance, Refusal
from pyfunc.detectors.selection import open_detector
from pyfunc.engines.engine import Logits
from pyfunc.engines.torch import TorchEngine
from pyfunc.inference import Call, Computation, Result, Rule
from pyfunc.tokens import TokenBatch
from tests.support.references import TEXTS

PROVENANCE = Provenance("models:/f/1", "models:/m-1")
MAX_TOKENS = 16
CHINESE = "很好看的电影"
WINDOW, TEXTS_OF_THREE_WINDOWS = 3, 8


@pytest.fixture(autouse=True, scope="module")
def _small_windows() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference, "_WINDOW_TEXTS", WINDOW)
        patch.setattr(inference, "_YIELDED_RESULTS", 2)
        yield


class Watched(TorchEngine):
    """Counts the rows that it computes; fails on some lengths, and holds up the longest rows."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "f32")
        self.rows = 0
        self.unreadable: set[int] = set()
        self.released = Event()
        self._counting = Lock()

    def logits(self, batch: TokenBatch) -> Logits:
        with self._counting:
            self.rows += len(batch.ids)
        if batch.ids.shape[1] == MAX_TOKENS:
            self.released.wait(timeout=30)
        if batch.ids.shape[1] in self.unreadable:
            raise MemoryError
        return super().logits(batch)


@pytest.fixture(scope="module")
def engine(tiny_classifier: Path) -> Watched:
    return Watched(tiny_classifier)


@pytest.fixture(scope="module")
def classifier(tiny_classifier: Path, engine: Watched) -> Classifier:
    return Classifier(tiny_classifier, engine, max_tokens=MAX_TOKENS)


@pytest.fixture(autouse=True)
def _forget(engine: Watched) -> None:
    engine.rows = 0
    engine.unreadable = set()
    engine.released.set()


def computation(
    classifier: Classifier, *, batch_tokens: int = 64, refuse: Rule | None = None
) -> Computation:
    call = Call(batch_tokens, refuse=refuse)
    return Computation(Composition.of(classifier, PROVENANCE), open_detector(), call)


def answered(work: Computation, texts: list[str]) -> list[Result]:
    found: dict[int, Result] = {}
    for results in work.answer(texts):
        assert not found.keys() & results.keys()
        found |= results
    assert sorted(found) == list(range(len(texts)))
    return [found[place] for place in range(len(texts))]


def refuse_chinese(language: Language) -> str:
    return "not asked for" if language.code == "zh" else ""


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    texts=st.lists(st.sampled_from([*TEXTS, CHINESE]), max_size=12),
    batch_tokens=st.integers(1, 64),
    refuse=st.sampled_from([None, refuse_chinese]),
)
def test_each_text_gets_its_own_result_whatever_the_windows(
    classifier: Classifier, texts: list[str], batch_tokens: int, refuse: Rule | None
) -> None:
    work = computation(classifier, batch_tokens=batch_tokens, refuse=refuse)
    results = answered(work, texts)
    for text, result, alone in zip(texts, results, classifier.predict(texts), strict=True):
        if refuse and text == CHINESE:
            assert isinstance(result, Refusal)
            assert result.reason == "not asked for"
        else:
            assert isinstance(result, Answer)
            assert result.language == open_detector().detect(text)
            assert result.prediction.label == alone.label
            assert result.prediction.score == pytest.approx(alone.score, abs=1e-5)
    assert work.model_calls == sum(isinstance(result, Answer) for result in results)


def test_a_text_that_is_refused_for_its_language_does_not_reach_the_engine(
    classifier: Classifier, engine: Watched
) -> None:
    answered(computation(classifier, refuse=refuse_chinese), [CHINESE, "a film", CHINESE])
    assert engine.rows == 1


def test_results_are_handed_on_before_the_engine_has_all_texts(
    classifier: Classifier, engine: Watched
) -> None:
    results = computation(classifier).answer(["a film"] * TEXTS_OF_THREE_WINDOWS)
    assert len(next(results)) == WINDOW
    assert engine.rows <= 2 * WINDOW


def test_only_what_failed_is_computed_again_and_that_is_logged(
    classifier: Classifier, engine: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    texts = ["good " * words for words in range(1, TEXTS_OF_THREE_WINDOWS + 1)]
    engine.unreadable = {6}  # four words and what is put around them
    work = computation(classifier, batch_tokens=1)
    results = answered(work, texts)
    refused = [place for place, result in enumerate(results) if isinstance(result, Refusal)]
    assert refused == [3]
    probe = 1
    assert engine.rows == len(texts) + probe + 1
    assert "1 texts are tried again: a batch of them failed" in caplog.text
    assert work.retried == 1


def test_what_fails_on_any_text_is_raised_before_the_next_texts_are_taken_on(
    classifier: Classifier, engine: Watched
) -> None:
    engine.unreadable = set(range(MAX_TOKENS + 1))
    with pytest.raises(MemoryError):
        answered(computation(classifier), ["a film"] * 10 * TEXTS_OF_THREE_WINDOWS)
    # Two windows, or one and the probe, may share a batch: then each is computed again alone.
    assert engine.rows <= 2 * (2 * WINDOW + 1)


def test_what_waits_for_the_engine_is_dropped_with_the_call(
    classifier: Classifier, engine: Watched
) -> None:
    texts = ["a film"] * WINDOW + ["good " * 20] * WINDOW
    results = computation(classifier, batch_tokens=1).answer(texts)
    engine.released.clear()
    assert next(results)
    results.close()
    engine.released.set()
    classifier.predict(["a film"])
    begun = 1
    assert engine.rows <= WINDOW + begun + 1
