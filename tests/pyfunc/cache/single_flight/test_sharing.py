"""What threads of a process ask for at the same moment is predicted once."""

import random
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pyfunc.cache.cache import PredictionCache
from pyfunc.composition.composition import Composition
from pyfunc.contract import Answer, Answers
from pyfunc.detectors.selection import open_detector
from pyfunc.pipeline import InferencePipeline
from tests.pyfunc.cache.single_flight.threads import (
    PATIENCE,
    PROVENANCE,
    THREADS,
    CountingClassifier,
    WatchedCache,
    ask,
    claimed,
    sources,
    wait_for,
)

TEXTS = [f"film number {number}" for number in range(30)]


def test_threads_that_ask_for_one_text_at_once_pay_for_it_once(
    pipeline: InferencePipeline, classifier: CountingClassifier, cache: WatchedCache
) -> None:
    classifier.before = lambda: wait_for(cache, THREADS - 1)
    with ThreadPoolExecutor(THREADS) as threads:
        every = list(threads.map(lambda _: ask(pipeline, ["a film"]), range(THREADS)))
    assert classifier.predicted == {"a film": 1}
    assert sorted(source for answers in every for source in sources(answers)) == (
        ["computed"] + ["repeated"] * (THREADS - 1)
    )
    assert sum(answers.model_calls for answers in every) == 1
    assert len({answers.outcomes[0].answer for answers in every}) == 1
    assert claimed(pipeline) == {}


def test_threads_that_ask_for_overlapping_texts_pay_for_each_once(
    tiny_classifier: Path, tmp_path: Path
) -> None:
    classifier = CountingClassifier(tiny_classifier)
    detector = open_detector()
    expected = ask(
        InferencePipeline(
            Composition.of(classifier, PROVENANCE),
            detector,
            PredictionCache(tmp_path / "alone", "f"),
        ),
        TEXTS,
    )
    scores = {
        text: outcome.answer.prediction.score
        for text, outcome in zip(TEXTS, expected.outcomes, strict=True)
        if outcome.answer
    }
    for seed in range(8):
        classifier.predicted.clear()
        cache = PredictionCache(tmp_path / str(seed), "f")
        pipeline = InferencePipeline(Composition.of(classifier, PROVENANCE), detector, cache)
        draw = random.Random(seed)
        batches = [draw.choices(TEXTS, k=20) for _ in range(THREADS)]
        barrier = threading.Barrier(THREADS)

        def work(texts: list[str]) -> Answers:
            barrier.wait(PATIENCE)  # noqa: B023 -- this round's
            return ask(pipeline, texts)  # noqa: B023 -- this round's

        with ThreadPoolExecutor(THREADS) as threads:
            every = list(threads.map(work, batches))
        asked = {text for texts in batches for text in texts}
        assert classifier.predicted == dict.fromkeys(asked, 1)
        assert sum(sources(answers).count("computed") for answers in every) == len(asked)
        assert sum(answers.model_calls for answers in every) == len(asked)
        assert claimed(pipeline) == {}
        for texts, answers in zip(batches, every, strict=True):
            assert answers.cache_failures == 0
            for text, outcome in zip(texts, answers.outcomes, strict=True):
                assert outcome.answer
                assert outcome.answer.prediction.score == pytest.approx(scores[text], abs=1e-5)


def test_texts_are_claimed_from_before_the_look_up_until_after_the_store(
    classifier: CountingClassifier, tmp_path: Path
) -> None:
    seen: list[tuple[str, set[str]]] = []

    class NotingCache(PredictionCache):
        asked_by: InferencePipeline

        def get_many(self, texts: Iterable[str]) -> dict[str, Answer]:
            seen.append(("look-up", set(claimed(self.asked_by))))
            return super().get_many(texts)

        def store_many(self, answers: Mapping[str, Answer]) -> None:
            super().store_many(answers)
            seen.append(("store", set(claimed(self.asked_by))))

    cache = NotingCache(tmp_path / "cache", "f")
    pipeline = InferencePipeline(Composition.of(classifier, PROVENANCE), open_detector(), cache)
    cache.asked_by = pipeline
    ask(pipeline, ["a film"])
    ask(pipeline, ["a film", "another"])
    assert seen == [
        ("look-up", {"a film"}),
        ("store", {"a film"}),
        ("look-up", {"a film", "another"}),
        ("store", {"another"}),
    ]


def test_threads_that_want_each_others_texts_do_not_wait_for_ever(
    pipeline: InferencePipeline, classifier: CountingClassifier
) -> None:
    classifier.before = lambda: time.sleep(0.002)
    barrier = threading.Barrier(THREADS)

    def work(name: int) -> int:
        draw = random.Random(name)
        for _ in range(10):
            barrier.wait(PATIENCE)
            answers = ask(pipeline, draw.sample(TEXTS, 15))
            assert len(answers.outcomes) == 15
        return name

    with ThreadPoolExecutor(THREADS) as threads:
        results = [threads.submit(work, name) for name in range(THREADS)]
        assert [result.result(PATIENCE) for result in results] == list(range(THREADS))
    assert claimed(pipeline) == {}


def test_a_text_in_the_cache_is_not_kept_waiting_by_the_others_of_its_call(
    classifier: CountingClassifier, tmp_path: Path
) -> None:
    cache = WatchedCache(tmp_path / "cache")
    pipeline = InferencePipeline(Composition.of(classifier, PROVENANCE), open_detector(), cache)
    ask(pipeline, ["known"])
    computing, go_on = threading.Event(), threading.Event()

    def hold_up() -> None:
        computing.set()
        assert go_on.wait(PATIENCE)

    classifier.before = hold_up
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(ask, pipeline, ["known", "unknown"])
        assert computing.wait(PATIENCE)
        assert sources(ask(pipeline, ["known"])) == ["cached"]
        assert not slow.done()
        go_on.set()
        assert sources(slow.result(PATIENCE)) == ["cached", "computed"]


def test_who_waits_for_what_another_finds_in_the_cache_finds_it_cached(
    classifier: CountingClassifier, tmp_path: Path
) -> None:
    class SlowCache(WatchedCache):
        def get_many(self, texts: Iterable[str]) -> dict[str, Answer]:
            texts = list(texts)
            if texts and self.slow:
                wait_for(self, 1)
            return super().get_many(texts)

        slow = False

    cache = SlowCache(tmp_path / "cache")
    pipeline = InferencePipeline(Composition.of(classifier, PROVENANCE), open_detector(), cache)
    ask(pipeline, ["known"])
    cache.slow = True
    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(lambda _: ask(pipeline, ["known"]), range(2)))
    assert [sources(answers) for answers in both] == [["cached"]] * 2


def test_without_the_cache_nobody_shares(
    pipeline: InferencePipeline, classifier: CountingClassifier
) -> None:
    barrier = threading.Barrier(2)
    classifier.before = lambda: (barrier.wait(PATIENCE), None)[1]

    def work(_: int) -> Answers:
        return pipeline.answer(["a film"] * 2, use_cache=False, batch_tokens=1_024)

    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(work, range(2)))
    assert [sources(answers) for answers in both] == [["computed"] * 2] * 2
    assert [answers.model_calls for answers in both] == [2, 2]
    assert classifier.predicted == {"a film": 4}
