"""What two threads of a process ask for at the same moment is predicted once."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from pyfunc.cache import PredictionCache
from pyfunc.classifier import Batch, Classifier
from pyfunc.contract import Answer, Answers, Language, Provenance
from pyfunc.in_flight import Claims, InFlight
from pyfunc.language import LanguageDetector
from pyfunc.pipeline import InferencePipeline
from pyfunc.torch_engine import TorchEngine
from tests.builders import one_torch_thread

PROVENANCE = Provenance("models:/f/1", "models:/m-1")

THREADS = 12
TEXTS = [f"film number {number}" for number in range(30)]

PATIENCE = 30.0  # seconds


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with one_torch_thread():
        yield


class CountingClassifier(Classifier):
    """Counts how often it predicts each text; may be held up, and may fail once."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, TorchEngine(folder, "f32"), max_tokens=16)
        self.predicted: Counter[str] = Counter()
        self.before: Callable[[], None] = lambda: None
        self._counting = threading.Lock()

    def submit(self, texts: Sequence[str], batch_tokens: int) -> list[Batch]:
        with self._counting:
            self.predicted.update(texts)
        self.before()
        return super().submit(texts, batch_tokens)


class WatchedCache(PredictionCache):
    """Says when threads that own no claim have come past the look-up, on their way to wait."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "f")
        self.waiting = threading.Semaphore(0)

    def get_many(self, texts: Iterable[str]) -> dict[str, Answer]:
        texts = list(texts)
        if not texts:
            self.waiting.release()
        return super().get_many(texts)


@pytest.fixture
def classifier(tiny_classifier: Path) -> CountingClassifier:
    return CountingClassifier(tiny_classifier)


@pytest.fixture(params=["working", "broken"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> WatchedCache:
    """A cache that works, and one that cannot be opened."""
    folder = tmp_path / "cache"
    if request.param == "broken":
        folder.write_text("a file")
    return WatchedCache(folder)


@pytest.fixture
def pipeline(classifier: CountingClassifier, cache: WatchedCache) -> InferencePipeline:
    return InferencePipeline(classifier, LanguageDetector(), cache, PROVENANCE)


def ask(
    pipeline: InferencePipeline,
    texts: Sequence[str],
    refuse: Callable[[Language], str] | None = None,
) -> Answers:
    return pipeline.answer(texts, use_cache=True, batch_tokens=1_024, refuse=refuse)


def sources(answers: Answers) -> list[str]:
    return [outcome.source for outcome in answers.outcomes]


def claimed(pipeline: InferencePipeline) -> Mapping[str, object]:
    return pipeline._in_flight._claimed


def wait_for(cache: WatchedCache, others: int) -> None:
    for _ in range(others):
        assert cache.waiting.acquire(timeout=PATIENCE)


# The claims


def test_the_first_to_claim_owns_and_the_second_gets_its_value() -> None:
    in_flight: InFlight[str] = InFlight()
    with in_flight.claim(["a", "b"]) as first, in_flight.claim(["b", "c"]) as second:
        assert (first.mine, second.mine) == (["a", "b"], ["c"])
        second.settle({"c": "see"})
        first.settle({"b": "bee"})
        assert second.wait() == {"b": "bee"}


def test_what_is_not_settled_is_given_up_at_the_end_of_the_block() -> None:
    in_flight: InFlight[str] = InFlight()
    with in_flight.claim(["a", "b"]) as first, in_flight.claim(["a", "b"]) as second:
        first.settle({"a": "ay"})
    assert second.wait() == {"a": "ay"}
    with in_flight.claim(["a", "b"]) as third:
        assert third.mine == ["a", "b"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_of_any_kind_gives_up_the_claims(error: type[BaseException]) -> None:
    in_flight: InFlight[str] = InFlight()
    waiting: list[Claims[str]] = []

    def fail() -> None:
        with in_flight.claim(["a"]), in_flight.claim(["a"]) as second:
            waiting.append(second)
            raise error

    with pytest.raises(error):
        fail()
    assert waiting[0].wait() == {}
    assert in_flight._claimed == {}


def test_an_error_of_the_texts_themselves_gives_up_what_was_claimed_until_then() -> None:
    def interrupted() -> Iterator[str]:
        yield "a"
        raise KeyboardInterrupt

    in_flight: InFlight[str] = InFlight()
    with pytest.raises(KeyboardInterrupt), in_flight.claim(interrupted()):
        pass
    assert in_flight._claimed == {}


def test_the_end_of_a_block_leaves_what_another_has_claimed_since() -> None:
    in_flight: InFlight[str] = InFlight()
    with in_flight.claim(["a"]) as first:
        first.settle({"a": "ay"})
        with in_flight.claim(["a"]) as second:
            assert second.mine == ["a"]
            first.give_up()
            assert in_flight._claimed.keys() == {"a"}


# Threads that ask one pipeline


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
    detector = LanguageDetector()
    expected = ask(
        InferencePipeline(
            classifier, detector, PredictionCache(tmp_path / "alone", "f"), PROVENANCE
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
        pipeline = InferencePipeline(classifier, detector, cache, PROVENANCE)
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
    pipeline = InferencePipeline(classifier, LanguageDetector(), cache, PROVENANCE)
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
    pipeline = InferencePipeline(classifier, LanguageDetector(), cache, PROVENANCE)
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
    pipeline = InferencePipeline(classifier, LanguageDetector(), cache, PROVENANCE)
    ask(pipeline, ["known"])
    cache.slow = True
    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(lambda _: ask(pipeline, ["known"]), range(2)))
    assert [sources(answers) for answers in both] == [["cached"]] * 2


# Owners that fail or refuse


class Rule:
    """A rule for refusing that first lets another thread come to wait."""

    def __init__(self, cache: WatchedCache, reason: str) -> None:
        self._cache = cache
        self._reason = reason
        self.started = threading.Event()

    def __call__(self, language: Language) -> str:
        self.started.set()
        wait_for(self._cache, 1)
        if self._reason == "raise":
            raise LookupError("the rule itself fails")
        return self._reason


def owner_and_waiter(
    pipeline: InferencePipeline, rule: Rule, waiters_rule: Callable[[Language], str] | None
) -> tuple[Future[Answers], Future[Answers]]:
    with ThreadPoolExecutor(2) as threads:
        owner = threads.submit(ask, pipeline, ["a film"], rule)
        assert rule.started.wait(PATIENCE)
        waiter = threads.submit(ask, pipeline, ["a film", "a film"], waiters_rule)
    return owner, waiter


def test_what_the_owner_refuses_by_its_rule_the_waiter_does_by_its_own(
    pipeline: InferencePipeline, classifier: CountingClassifier, cache: WatchedCache
) -> None:
    owner, waiter = owner_and_waiter(pipeline, Rule(cache, "not wanted"), None)
    assert sources(owner.result()) == ["refused"]
    assert sources(waiter.result()) == ["computed", "repeated"]
    assert classifier.predicted == {"a film": 1}
    assert claimed(pipeline) == {}


def test_what_the_owner_answers_the_waiter_may_refuse(
    pipeline: InferencePipeline, classifier: CountingClassifier, cache: WatchedCache
) -> None:
    owner, waiter = owner_and_waiter(pipeline, Rule(cache, ""), lambda _: "not wanted")
    assert sources(owner.result()) == ["computed"]
    assert sources(waiter.result()) == ["refused", "refused"]
    (refusal, _) = [outcome.refusal for outcome in waiter.result().outcomes]
    assert refusal is not None
    assert (refusal.step, refusal.reason) == ("language", "not wanted")
    assert classifier.predicted == {"a film": 1}


def test_when_the_owner_raises_the_waiter_does_it(
    pipeline: InferencePipeline, classifier: CountingClassifier, cache: WatchedCache
) -> None:
    owner, waiter = owner_and_waiter(pipeline, Rule(cache, "raise"), None)
    with pytest.raises(LookupError):
        owner.result()
    assert sources(waiter.result()) == ["computed", "repeated"]
    assert claimed(pipeline) == {}


def test_when_the_owner_is_interrupted_the_waiter_does_it(
    pipeline: InferencePipeline, classifier: CountingClassifier, cache: WatchedCache
) -> None:
    started = threading.Event()

    def interrupt_once() -> None:
        classifier.before = lambda: None
        started.set()
        wait_for(cache, 1)
        raise KeyboardInterrupt

    classifier.before = interrupt_once
    with ThreadPoolExecutor(2) as threads:
        owner = threads.submit(ask, pipeline, ["a film"])
        assert started.wait(PATIENCE)
        waiter = threads.submit(ask, pipeline, ["a film"])
    with pytest.raises(KeyboardInterrupt):
        owner.result()
    assert sources(waiter.result()) == ["computed"]
    assert classifier.predicted == {"a film": 2}
    assert claimed(pipeline) == {}


def test_many_who_wait_for_an_owner_that_is_interrupted_pay_once_between_them(
    pipeline: InferencePipeline, classifier: CountingClassifier, cache: WatchedCache
) -> None:
    def interrupt_then_hold_up() -> None:
        wait_for(cache, THREADS - 1)
        classifier.before = lambda: wait_for(cache, THREADS - 2)
        raise KeyboardInterrupt

    classifier.before = interrupt_then_hold_up
    with ThreadPoolExecutor(THREADS) as threads:
        asked = [threads.submit(ask, pipeline, ["a film"]) for _ in range(THREADS)]
    interrupted = [future for future in asked if future.exception()]
    answered = [future.result() for future in asked if not future.exception()]
    assert len(interrupted) == 1
    assert Counter(source for answers in answered for source in sources(answers)) == {
        "computed": 1,
        "repeated": THREADS - 2,
    }
    assert classifier.predicted == {"a film": 2}


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
