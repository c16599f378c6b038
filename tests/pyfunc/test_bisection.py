"""A text that makes the model raise is refused alone; its neighbours are answered."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from pyfunc.bisection import Failure, bisect_failures
from pyfunc.cache.cache import PredictionCache
from pyfunc.classifier import Classifier
from pyfunc.composition.composition import Composition
from pyfunc.contract import Language, Provenance
from pyfunc.detectors.detector import LanguageDetector
from pyfunc.detectors.gcld3 import Gcld3Detector
from pyfunc.detectors.selection import open_detector
from pyfunc.engines.torch import TorchEngine
from pyfunc.pipeline import InferencePipeline
from pyfunc.tokens import Tokens
from tests.support.builders import ask_pipeline, torch_classifier

PROVENANCE = Provenance("models:/f/1", "models:/m-1")

POISON = "xylophonpoison"
WORD = "unutterable"

NEIGHBOURS = ["Great movie", "what a disappointing movie", "很好看的电影", "a film", "another film"]


@pytest.fixture(scope="module")
def detector() -> LanguageDetector:
    return open_detector()


@pytest.fixture(scope="module")
def healthy(tiny_classifier: Path) -> Classifier:
    return torch_classifier(tiny_classifier)


def copy_of(classifier: Path, folder: Path) -> Path:
    folder.mkdir()
    for path in classifier.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture(scope="module")
def poisoned(tiny_classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """Its tokenizer knows a token that the embeddings have no row for."""
    folder = copy_of(tiny_classifier, tmp_path_factory.mktemp("poisoned") / "classifier")
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert tokenizer.add_tokens([POISON]) == 1
    tokenizer.save_pretrained(folder)
    return torch_classifier(folder)


@pytest.fixture(scope="module")
def speechless(tiny_classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """Its tokenizer raises on a word that it does not know."""
    folder = copy_of(tiny_classifier, tmp_path_factory.mktemp("speechless") / "classifier")
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    del content["model"]["vocab"]["[UNK]"]
    path.write_text(json.dumps(content))
    return torch_classifier(folder)


class Picky(Gcld3Detector):
    """Raises on texts with a word; the message quotes the text."""

    def detect(self, text: str) -> Language:
        if WORD in text:
            raise LookupError(text)
        return super().detect(text)


def piped(classifier: Classifier, detector: LanguageDetector, folder: Path) -> InferencePipeline:
    return InferencePipeline(
        Composition.of(classifier, PROVENANCE), detector, PredictionCache(folder, "f")
    )


def errors(documents: list[dict[str, Any]]) -> list[Any]:
    return [document.get("error") for document in documents]


# The bisection


class Recorder:
    """Work that fails on some items, and notes what it was given."""

    def __init__(self, bad: set[int]) -> None:
        self.bad = bad
        self.given: list[Sequence[int]] = []

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.given.append(items)
        if self.bad & set(items):
            raise LookupError(f"one of {items}")
        return [-item for item in items]


@given(st.lists(st.booleans(), max_size=40))
def test_the_items_that_fail_are_the_ones_that_make_the_work_raise(bad: list[bool]) -> None:
    work = Recorder({item for item, fails in enumerate(bad) if fails})
    assert bisect_failures(work, range(len(bad))) == [
        Failure("LookupError") if fails else -item for item, fails in enumerate(bad)
    ]


def test_work_that_does_not_raise_is_done_once() -> None:
    work = Recorder(set())
    bisect_failures(work, range(1_000))
    assert [len(items) for items in work.given] == [1_000]


def test_nothing_to_do_is_not_done() -> None:
    work = Recorder(set())
    assert bisect_failures(work, []) == []
    assert work.given == []


def test_work_that_always_raises_ends_in_time_far_below_the_square() -> None:
    work = Recorder(set(range(1_024)))
    assert bisect_failures(work, range(1_024)) == [Failure("LookupError")] * 1_024
    assert len(work.given) == 2 * 1_024 - 1
    assert sum(len(items) for items in work.given) == 1_024 * 11


def test_one_bad_item_repeats_the_work_on_the_others_less_than_twice() -> None:
    work = Recorder({700})
    bisect_failures(work, range(1_024))
    assert len(work.given) == 21
    assert sum(len(items) for items in work.given) < 3 * 1_024 + 1


def test_an_interrupt_is_no_failure_of_an_item() -> None:
    def interrupted(items: Sequence[int]) -> list[int]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bisect_failures(interrupted, range(4))


def test_a_panic_of_the_tokenizers_library_is_a_failure(
    tiny_classifier: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_classifier / "tokenizer.json"))
    # It panics where a text is longer and the stride leaves no room beside the special tokens.
    tokenizer.enable_truncation(4, stride=2)
    tokenizer.no_padding()

    def count(texts: Sequence[str]) -> list[int]:
        return [len(encoding.ids) for encoding in tokenizer.encode_batch(list(texts))]

    counts = bisect_failures(count, ["film", "film " * 9, "a film"])
    assert counts == [3, Failure("PanicException"), 4]
    assert "panicked" in capfd.readouterr().err  # the library's own word, kept out of the run's


# The pipeline


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("place", [0, 2, 5])
def test_a_text_that_the_transformer_raises_on_is_refused_alone(
    poisoned: Classifier,
    healthy: Classifier,
    detector: LanguageDetector,
    tmp_path: Path,
    use_cache: bool,
    place: int,
) -> None:
    pipeline = piped(poisoned, detector, tmp_path / "cache")
    texts = [*NEIGHBOURS[:place], f"a {POISON} movie", *NEIGHBOURS[place:]]
    documents = ask_pipeline(pipeline, texts, use_cache=use_cache)
    refused = documents.pop(place)
    assert refused["response"] is None
    assert refused["error"] == {"step": "predict", "reason": "the model failed (IndexError)"}
    assert refused["metadata"]["language_detected"] == detector.detect(texts[place]).code
    assert refused["metadata"]["cached"] is False
    expected = ask_pipeline(piped(healthy, detector, tmp_path / "other"), NEIGHBOURS)
    for document, other in zip(documents, expected, strict=True):
        assert document["response"]["prediction_score"] == pytest.approx(
            other["response"].pop("prediction_score"), abs=1e-5
        )
        assert document["response"].items() >= other["response"].items()


@pytest.mark.parametrize("use_cache", [True, False])
def test_a_text_that_the_tokenizer_raises_on_is_refused_alone(
    speechless: Classifier, detector: LanguageDetector, tmp_path: Path, use_cache: bool
) -> None:
    pipeline = piped(speechless, detector, tmp_path / "cache")
    documents = ask_pipeline(pipeline, ["a film", "ᚠᚢᚦ", "a film too"], use_cache=use_cache)
    refusal = {"step": "predict", "reason": "the model failed (Exception)"}
    assert errors(documents) == [None, refusal, None]


@pytest.mark.parametrize("use_cache", [True, False])
def test_a_text_that_the_detector_raises_on_is_refused_alone(
    healthy: Classifier, tmp_path: Path, use_cache: bool
) -> None:
    pipeline = piped(healthy, Picky(None), tmp_path / "cache")
    documents = ask_pipeline(pipeline, ["a film", f"{WORD} film", "film"], use_cache=use_cache)
    refusal = {"step": "language", "reason": "the model failed (LookupError)"}
    assert errors(documents) == [None, refusal, None]
    assert documents[1]["metadata"]["language_detected"] is None


def test_a_failure_of_every_text_refuses_them_all(
    poisoned: Classifier, detector: LanguageDetector, tmp_path: Path
) -> None:
    pipeline = piped(poisoned, detector, tmp_path / "cache")
    texts = [f"{POISON} {number}" for number in range(100)]
    answers = pipeline.answer(texts, use_cache=True, batch_tokens=1_024)
    assert {row.refusal.step for row in answers.outcomes if row.refusal} == {"predict"}
    assert {row.source for row in answers.outcomes} == {"refused"}
    assert (answers.model_calls, answers.retried) == (0, 100)


class Ailing(Classifier):
    """Raises on everything while it ails."""

    ails = True

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        if self.ails:
            raise MemoryError
        return super().encode(texts)


@pytest.mark.parametrize("use_cache", [True, False])
def test_what_ails_the_model_on_any_text_is_raised_and_no_text_is_refused_for_it(
    tiny_classifier: Path, detector: LanguageDetector, tmp_path: Path, use_cache: bool
) -> None:
    ailing = Ailing(tiny_classifier, TorchEngine(tiny_classifier, "f32"), max_tokens=16)
    pipeline = piped(ailing, detector, tmp_path / "cache")
    with pytest.raises(MemoryError):
        pipeline.predict(NEIGHBOURS, use_cache=use_cache, batch_tokens=1_024)
    ailing.ails = False
    documents = ask_pipeline(pipeline, NEIGHBOURS, use_cache=use_cache)
    assert errors(documents) == [None] * len(NEIGHBOURS)


class Recovering(Classifier):
    """Raises until it is asked for one text alone that is none of the neighbours."""

    ails = True

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        self.ails = self.ails and set(texts) <= set(NEIGHBOURS)
        if self.ails:
            raise MemoryError
        return super().encode(texts)


def test_a_text_that_failed_only_for_a_while_is_answered(
    tiny_classifier: Path, detector: LanguageDetector, tmp_path: Path
) -> None:
    engine = TorchEngine(tiny_classifier, "f32")
    recovering = Recovering(tiny_classifier, engine, max_tokens=16)
    pipeline = piped(recovering, detector, tmp_path / "cache")
    assert errors(ask_pipeline(pipeline, NEIGHBOURS)) == [None] * len(NEIGHBOURS)


def test_a_refused_text_is_not_stored_and_is_tried_again(
    poisoned: Classifier, detector: LanguageDetector, tmp_path: Path
) -> None:
    pipeline = piped(poisoned, detector, tmp_path / "cache")
    texts = ["a film", POISON, POISON]
    for sources in (["computed", "refused", "refused"], ["cached", "refused", "refused"]):
        answers = pipeline.answer(texts, use_cache=True, batch_tokens=1_024)
        assert [row.source for row in answers.outcomes] == sources
    assert set(PredictionCache(tmp_path / "cache", "f").get_many(texts)) == {"a film"}


def test_neither_refusal_nor_log_quotes_the_text_that_failed(
    poisoned: Classifier, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    pipeline = piped(poisoned, Picky(None), tmp_path / "cache")
    documents = pipeline.predict(
        [f"{WORD} film", f"a {POISON} film"], use_cache=True, batch_tokens=1_024
    )
    said = "".join(documents) + caplog.text
    assert "the model failed" in said
    assert WORD not in said
    assert POISON not in said


def test_an_id_beyond_the_embeddings_is_found_before_the_device_is_asked(
    poisoned: Classifier,
) -> None:
    with pytest.raises(IndexError, match="a token id: expected less than 30522"):
        poisoned.predict([POISON])


def test_a_score_that_is_no_number_is_refused(
    tiny_classifier: Path, detector: LanguageDetector, tmp_path: Path
) -> None:
    engine = TorchEngine(tiny_classifier, "f32")
    with torch.no_grad():
        for weights in engine._model.classifier.parameters():
            weights.fill_(torch.nan)
    broken = Classifier(tiny_classifier, engine, max_tokens=16)
    pipeline = InferencePipeline(
        Composition.of(broken, PROVENANCE), detector, PredictionCache(tmp_path, "f")
    )
    for document in ask_pipeline(pipeline, NEIGHBOURS):
        assert document["error"] == {"step": "predict", "reason": "the model's score is no number"}
