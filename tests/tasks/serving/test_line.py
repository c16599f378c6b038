"""The line of requests: they share calls, in order, and none waits for a long one."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tasks.serving.line import MOST_TEXTS, LineRequest, OverloadedError, RequestLine
from tasks.serving.types import AnswerOptions, AskedRows
from tasks.serving.versions import AnsweredRows

SECONDS = 30


class Served:
    """Answers each text with itself once it may; notes the texts of each call."""

    def __init__(self, version: int = 1) -> None:
        self.version = version
        self.calls: list[list[object]] = []
        self.recent: set[object] = set()
        self.started, self.gate = threading.Event(), threading.Event()

    def recall(self, asked: AskedRows) -> AnsweredRows | None:
        if not asked.options.use_cache or not {*asked.texts} <= self.recent:
            return None
        return AnsweredRows([{"recent": text} for text in asked.texts], [self.version], [])

    def answer(self, asked: AskedRows) -> AnsweredRows:
        self.started.set()
        assert self.gate.wait(SECONDS)
        self.calls.append(list(asked.texts))
        if "poisoned" in asked.texts:
            raise ValueError("poisoned")
        documents = [{"text": text, "all": asked.options.all_scores} for text in asked.texts]
        return AnsweredRows(documents, [self.version] * len(documents), [])


def rows(*texts: str, **options: bool) -> AskedRows:
    return AskedRows(texts=texts, options=AnswerOptions(**options))


def within(run: Callable[[RequestLine], Coroutine[Any, Any, None]], threads: int = 1) -> None:
    """Run a coroutine with a line."""

    async def main() -> None:
        line = RequestLine(threads, lambda answered: None)
        async with asyncio.timeout(SECONDS):
            await run(line)
        await asyncio.to_thread(line.close)
        assert line.texts == 0

    asyncio.run(main())


async def held(line: RequestLine, served: Any, threads: int = 1) -> list[LineRequest]:
    """Fill the threads of a line, so that what is submitted now waits."""
    found = []
    for number in range(threads):
        served.started.clear()
        found.append(line.submit(rows(f"first {number}"), served, within=SECONDS))
        await asyncio.to_thread(served.started.wait, SECONDS)
    return found


async def texts_of(request: LineRequest) -> list[object]:
    answered = await request.answered
    return [document["text"] for document in answered.documents]


def test_what_waits_is_answered_by_one_call_each_with_its_own() -> None:
    served: Any = Served()

    async def run(line: RequestLine) -> None:
        first = await held(line, served)
        others = [line.submit(rows(*texts), served, within=SECONDS) for texts in ("a", "bc", "d")]
        assert line.texts == 4
        served.gate.set()
        assert [await texts_of(one) for one in (*first, *others)] == [
            ["first 0"],
            ["a"],
            ["b", "c"],
            ["d"],
        ]

    within(run)
    assert served.calls == [["first 0"], ["a", "b", "c", "d"]]


def test_requests_with_other_options_or_of_another_version_have_calls_of_their_own() -> None:
    one: Any = Served(1)
    other: Any = Served(2)
    other.gate.set()

    async def run(line: RequestLine) -> None:
        await held(line, one)
        asked = [
            line.submit(rows("a"), one, within=SECONDS),
            line.submit(rows("b", all_scores=True), one, within=SECONDS),
            line.submit(rows("c"), other, within=SECONDS),
        ]
        one.gate.set()
        answered = [await request.answered for request in asked]
        assert [request.versions for request in answered] == [{1}, {1}, {2}]
        assert [request.documents[0]["all"] for request in answered] == [False, True, False]

    within(run)
    assert (one.calls, other.calls) == ([["first 0"], ["a"], ["b"]], [["c"]])


def test_a_long_request_is_answered_in_parts_and_others_come_between() -> None:
    served: Any = Served()
    texts = [str(number) for number in range(3 * MOST_TEXTS)]

    async def run(line: RequestLine) -> None:
        await held(line, served)
        long = line.submit(rows(*texts), served, within=SECONDS)
        short = line.submit(rows("short"), served, within=SECONDS)
        served.gate.set()
        assert await texts_of(short) == ["short"]
        assert await texts_of(long) == texts

    within(run)
    assert [len(call) for call in served.calls] == [1, MOST_TEXTS, MOST_TEXTS, MOST_TEXTS, 1]
    assert "short" in served.calls[2]


def test_a_call_that_raises_is_repeated_for_each_of_its_requests() -> None:
    served: Any = Served()

    async def run(line: RequestLine) -> None:
        await held(line, served)
        good = line.submit(rows("a"), served, within=SECONDS)
        bad = line.submit(rows("poisoned"), served, within=SECONDS)
        other = line.submit(rows("b"), served, within=SECONDS)
        served.gate.set()
        assert (await texts_of(good), await texts_of(other)) == (["a"], ["b"])
        with pytest.raises(ValueError, match="poisoned"):
            await bad.answered

    within(run)


def test_what_nobody_waits_for_is_dropped() -> None:
    served: Any = Served()

    async def run(line: RequestLine) -> None:
        await held(line, served)
        dropped = line.submit(rows("a", "b"), served, within=SECONDS)
        kept = line.submit(rows("c"), served, within=SECONDS)
        dropped.answered.cancel()
        served.gate.set()
        assert await texts_of(kept) == ["c"]

    within(run)
    assert served.calls == [["first 0"], ["c"]]


def test_a_request_that_would_wait_too_long_is_refused_and_told_for_how_long() -> None:
    served: Any = Served()

    async def run(line: RequestLine) -> None:
        await held(line, served)
        line._measure(0.5)  # seconds of a text
        line.submit(rows(*"abcd"), served, within=2)
        assert line.expected_seconds == pytest.approx(2.0)
        line.submit(rows("e"), served, within=2)
        with pytest.raises(OverloadedError) as raised:
            line.submit(rows("f"), served, within=2)
        assert raised.value.retry_after == pytest.approx(0.5)
        served.gate.set()

    within(run)


def test_the_estimate_follows_what_calls_take() -> None:
    served: Any = Served()
    served.gate.set()

    async def run(line: RequestLine) -> None:
        for number in range(20):
            await texts_of(line.submit(rows(str(number)), served, within=SECONDS))
        assert 0 < line._seconds_per_text < 0.1

    within(run, threads=2)


def test_closing_answers_what_was_taken() -> None:
    served: Any = Served()

    async def run(line: RequestLine) -> None:
        first = await held(line, served, threads=2)
        waiting = line.submit(rows("a"), served, within=SECONDS)
        closing = asyncio.create_task(asyncio.to_thread(line.close))
        served.gate.set()
        await closing
        assert [await texts_of(one) for one in (*first, waiting)] == [
            ["first 0"],
            ["first 1"],
            ["a"],
        ]

    within(run, threads=2)


def test_recent_answers_wait_for_nothing() -> None:
    served: Any = Served()
    counted: list[AnsweredRows] = []

    async def main() -> None:
        line = RequestLine(1, counted.append)
        async with asyncio.timeout(SECONDS):
            (taken,) = await held(line, served)
            served.recent = {"a", "b"}
            found = line.submit(rows("a", "b"), served, within=0)
            assert found.answered.result().documents == [{"recent": "a"}, {"recent": "b"}]
            assert found.versions == {1}
            assert [answered.documents for answered in counted] == [found.documents]
            # No part of a request, and none that would keep the event loop.
            waiting = [
                line.submit(rows(*texts), served, within=SECONDS)
                for texts in (["a", "c"], ["a"] * (MOST_TEXTS + 1))
            ]
            assert not any(one.answered.done() for one in waiting)
            served.gate.set()
            for one in (taken, *waiting):
                await one.answered
        await asyncio.to_thread(line.close)

    asyncio.run(main())


def test_what_fails_beside_an_answer_costs_none(caplog: pytest.LogCaptureFixture) -> None:
    served: Any = Served()
    served.gate.set()

    async def main() -> None:
        def fail(_: AnsweredRows) -> None:
            raise OSError("no place")

        line = RequestLine(1, fail)
        async with asyncio.timeout(SECONDS):
            assert await texts_of(line.submit(rows("a"), served, within=SECONDS)) == ["a"]
        await asyncio.to_thread(line.close)

    asyncio.run(main())
    assert served.calls == [["a"]]
    assert "answers are not counted: OSError" in caplog.text
