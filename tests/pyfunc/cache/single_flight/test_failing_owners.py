"""When the owner of a text fails or refuses, those who wait do it by their own rule."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from pyfunc.contract import Answers, Language
from pyfunc.pipeline import InferencePipeline
from tests.pyfunc.cache.single_flight.threads import (
    PATIENCE,
    THREADS,
    CountingClassifier,
    WatchedCache,
    ask,
    claimed,
    sources,
    wait_for,
)


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
