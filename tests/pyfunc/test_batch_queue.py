"""Rows of several callers that wait for the engine are computed together, and fail alone."""

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfunc.batch_queue import BatchQueue
from pyfunc.engines.engine import Logits
from pyfunc.tokens import Tokens

BUDGET = 64
SECONDS = 30


class Engine:
    """Returns the first token of each row once it may; notes the shape of each batch."""

    def __init__(self, *, is_open: bool) -> None:
        self.shapes: list[tuple[int, int]] = []
        self.started = threading.Event()
        self.gate = threading.Event()
        if is_open:
            self.gate.set()

    def compute(self, rows: Sequence[Tokens], length: int) -> Logits:
        self.started.set()
        assert self.gate.wait(SECONDS)
        self.shapes.append((len(rows), length))
        firsts = np.array([[row.ids[0]] for row in rows], np.float32)
        if (firsts < 0).any():
            raise ValueError("poisoned")
        return firsts


def rows_of(*firsts: int) -> list[Tokens]:
    return [Tokens(np.array([first], np.int32), None, False) for first in firsts]


def answers(found: Future[Logits]) -> list[float]:
    answer: list[float] = found.result(SECONDS)[:, 0].tolist()
    return answer


class Waiting:
    """A queue whose only thread is held by a first row, so that all others wait."""

    def __init__(self) -> None:
        self.engine = Engine(is_open=False)
        self.threads = ThreadPoolExecutor(1)
        self.queue = BatchQueue(self.engine.compute, self.threads, streams=1)
        self.first = self.queue.submit(object(), rows_of(0), 60, BUDGET)
        assert self.engine.started.wait(SECONDS)

    def release(self) -> list[tuple[int, int]]:
        """Let all be computed, and return the shapes of the batches after the first."""
        self.engine.gate.set()
        assert answers(self.first) == [0]
        self.threads.shutdown()
        return self.engine.shapes[1:]


def test_what_waits_is_one_batch() -> None:
    waiting = Waiting()
    found = [waiting.queue.submit(object(), rows_of(number), 8, BUDGET) for number in range(1, 6)]
    assert waiting.release() == [(5, 8)]
    assert [answers(one) for one in found] == [[1], [2], [3], [4], [5]]


def test_an_idle_engine_computes_at_once() -> None:
    engine = Engine(is_open=True)
    with ThreadPoolExecutor(1) as threads:
        queue = BatchQueue(engine.compute, threads, streams=1)
        for number in range(3):
            assert answers(queue.submit(object(), rows_of(number), 8, BUDGET)) == [number]
    assert engine.shapes == [(1, 8)] * 3


@pytest.mark.parametrize(
    ("lengths", "shapes"),
    [
        ([16, 16, 16, 16, 16], [(4, 16), (1, 16)]),  # four fill the budget
        ([8, 40, 8, 12], [(3, 12), (1, 40)]),  # one is too long for the others
        ([40, 8, 40], [(1, 40), (1, 8), (1, 40)]),  # two of the length are beyond the budget
        ([8, 12, 18, 30], [(3, 18), (1, 30)]),  # padding costs less than two calls, and then more
        ([100, 100], [(1, 100), (1, 100)]),  # a row alone may have more
    ],
)
def test_a_batch_is_within_the_budget_and_of_like_lengths(
    lengths: list[int], shapes: list[tuple[int, int]]
) -> None:
    waiting = Waiting()
    found = [waiting.queue.submit(object(), rows_of(length), length, BUDGET) for length in lengths]
    assert waiting.release() == shapes
    assert [answers(one) for one in found] == [[length] for length in lengths]


def test_the_least_budget_of_a_batch_holds() -> None:
    waiting = Waiting()
    waiting.queue.submit(object(), rows_of(1), 8, BUDGET)
    waiting.queue.submit(object(), rows_of(2), 8, 16)
    waiting.queue.submit(object(), rows_of(3), 8, BUDGET)
    assert waiting.release() == [(2, 8), (1, 8)]


def test_what_fails_in_a_batch_fails_alone() -> None:
    waiting = Waiting()
    good, poisoned, other = (
        waiting.queue.submit(object(), rows_of(*firsts), 8, BUDGET)
        for firsts in [(1, 2), (-1, 5), (3,)]
    )
    assert waiting.release() == [(5, 8), (2, 8), (3, 8), (2, 8), (1, 8)]
    assert (answers(good), answers(other)) == ([1, 2], [3])
    with pytest.raises(ValueError, match="poisoned"):
        poisoned.result(SECONDS)


def test_what_nobody_waits_for_is_not_computed() -> None:
    waiting = Waiting()
    kept, dropped = (
        waiting.queue.submit(object(), rows_of(number), 8, BUDGET) for number in (1, 2)
    )
    assert dropped.cancel()
    assert waiting.release() == [(1, 8)]
    assert answers(kept) == [1]
    with pytest.raises(CancelledError):
        dropped.result()


@given(
    requests=st.lists(
        st.tuples(st.integers(1, 40), st.integers(1, 5), st.booleans()), min_size=1, max_size=30
    ),
    threads=st.integers(1, 4),
    streams=st.integers(1, 4),
)
def test_each_caller_gets_its_own(
    requests: list[tuple[int, int, bool]], threads: int, streams: int
) -> None:
    engine = Engine(is_open=True)
    expected = []
    with ThreadPoolExecutor(threads) as pool:
        queue = BatchQueue(engine.compute, pool, streams)
        found = []
        for number, (length, count, fails) in enumerate(requests, start=1):
            firsts = [-number if fails else number] * count
            expected.append(None if fails else [number] * count)
            found.append(queue.submit(object(), rows_of(*firsts), length, BUDGET))
        given = [None if one.exception(SECONDS) else answers(one) for one in found]
    assert given == expected
    assert queue.waiting == 0
    alone = {(count, length) for length, count, _ in requests}
    assert all(rows * length <= BUDGET or (rows, length) in alone for rows, length in engine.shapes)


def test_a_half_full_batch_is_kept_ready_and_a_smaller_one_grows() -> None:
    engine = Engine(is_open=False)
    with ThreadPoolExecutor(2) as threads:
        queue = BatchQueue(engine.compute, threads, streams=1)
        found = [queue.submit(object(), rows_of(0), 8, BUDGET)]
        assert engine.started.wait(SECONDS)
        engine.started.clear()
        found.append(queue.submit(object(), rows_of(1), 8, BUDGET))
        assert not engine.started.wait(0.2)
        assert queue.waiting == 1
        found.append(queue.submit(object(), rows_of(2, 3, 4), 8, BUDGET))
        assert engine.started.wait(SECONDS)
        assert queue.waiting == 0
        engine.gate.set()
        assert [answers(one) for one in found] == [[0], [1], [2, 3, 4]]
    assert sorted(engine.shapes) == [(1, 8), (4, 8)]


def test_whoever_watches_is_called_with_the_rows_of_each_batch() -> None:
    waiting = Waiting()
    seen: list[int] = []
    waiting.queue.watch(seen.append)
    for firsts in [(1, 2), (3,)]:
        waiting.queue.submit(object(), rows_of(*firsts), 8, BUDGET)
    waiting.release()
    assert seen == [3]


def test_rows_of_one_caller_are_not_merged() -> None:
    waiting, caller = Waiting(), object()
    for first in (1, 2):
        waiting.queue.submit(caller, rows_of(first), 8, BUDGET)
    waiting.queue.submit(object(), rows_of(3), 8, BUDGET)
    assert waiting.release() == [(2, 8), (1, 8)]
