"""The line of requests: one call answers rows of several, and none waits for a long one to end.

A call of a pipeline costs about as much as a short text, cache and threads included, so that what
waits is answered together. There is no timer: a thread that is free takes what is there.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.common.task_errors import class_and_line
from tasks.serving.types import AnswerOptions, AskedRows
from tasks.serving.versions import AnsweredRows, ServedModel

logger = logging.getLogger("millstream.serving")

# Texts that one call answers. The rest of a longer request goes to the end of the line.
MOST_TEXTS = 64

# Of the newest call in the estimate of the seconds that a text takes.
_WEIGHT = 0.1


class OverloadedError(Exception):
    """The line is longer than a request may wait.

    Attributes:
        retry_after: Seconds after which it may be short enough.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"the line is {retry_after:.1f} s too long")
        self.retry_after = retry_after


@dataclass(slots=True, eq=False)
class LineRequest:
    """A request in the line.

    Attributes:
        asked: Its rows.
        served: What answers it.
        answered: The future of its caller.
        taken: Rows that a thread has taken.
        documents: Those of the rows that are answered, by place.
        versions: The versions that answered.
        left: Rows that are not answered yet.
    """

    asked: AskedRows
    served: ServedModel
    answered: asyncio.Future["LineRequest"]
    taken: int = 0
    documents: list[dict[str, Any]] = field(default_factory=list)
    versions: set[int] = field(default_factory=set)
    left: int = 0

    def __post_init__(self) -> None:
        self.left = len(self.asked.texts)
        self.documents = [{}] * self.left


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows of a request: from `start` to before `end`."""

    request: LineRequest
    start: int
    end: int

    @property
    def rows(self) -> int:
        return self.end - self.start


Listener = Callable[[AnsweredRows], None]


class RequestLine:
    """Requests that wait for a thread; to be used from one event loop."""

    def __init__(self, threads: int, on_answered: Listener) -> None:
        """Start the threads.

        Args:
            threads: Calls of a pipeline at the same time.
            on_answered: Called with the answers of each call in its thread, and with recent ones.
        """
        self._on_answered = on_answered
        self._requests: deque[LineRequest] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._texts = 0
        self._idle = 0
        self._seconds_per_text = 0.0
        self._loop = asyncio.get_running_loop()
        self._threads = [
            threading.Thread(target=self._work, name=f"line-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def texts(self) -> int:
        """Texts that wait."""
        return self._texts

    @property
    def expected_seconds(self) -> float:
        """How long a request that comes now is expected to wait."""
        return self._texts * self._seconds_per_text

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits or is answered."""
        return self._idle == len(self._threads)

    def submit(self, asked: AskedRows, served: ServedModel, *, within: float) -> LineRequest:
        """Put a request into the line, or answer it at once if all its answers are recent.

        Args:
            asked: Its rows, at least one.
            served: What answers it, to its last row.
            within: Seconds that it may wait.

        Returns:
            The request; its future is done when all rows are answered. Cancelling the future drops
            the rows that no thread has taken.

        Raises:
            OverloadedError: If it would wait longer.
        """
        request = LineRequest(asked, served, self._loop.create_future())
        if request.left <= MOST_TEXTS and (recent := served.recall(asked)):
            request.documents = recent.documents
            request.versions.update(recent.versions)
            request.answered.set_result(request)
            self._notify(recent)
            return request
        if (excess := self.expected_seconds - within) > 0:
            raise OverloadedError(excess)
        with self._changed:
            self._requests.append(request)
            self._texts += len(asked.texts)
            self._changed.notify()
        return request

    def close(self) -> None:
        """Answer what is there, and end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while pieces := self._take():
            started = time.perf_counter()
            self._answer_each(pieces)
            texts = sum(piece.rows for piece in pieces)
            self._measure((time.perf_counter() - started) / texts / len(self._threads))

    def _answer_each(self, pieces: Sequence[_Piece]) -> None:
        """Answer pieces with one call; if it raises, with a call for each."""
        error: BaseException | None = None
        try:
            self._answer(pieces)
        except Exception as raised:  # noqa: BLE001 -- that of the caller
            if len(pieces) > 1:
                for piece in pieces:
                    self._answer_each([piece])
                return
            error = raised
        self._loop.call_soon_threadsafe(_finish, pieces, error)

    def _take(self) -> list[_Piece]:
        """Wait for requests, and return rows of them that one call can answer; none at the end."""
        with self._changed:
            while True:
                pieces = self._next_pieces()
                if pieces or self._closed:
                    return pieces
                self._idle += 1
                self._changed.wait()
                self._idle -= 1

    def _next_pieces(self) -> list[_Piece]:
        pieces: list[_Piece] = []
        rest: list[LineRequest] = []
        # A share for each thread that is idle: a call ends when the last of its texts is answered.
        share = min(MOST_TEXTS, -(-self._texts // (self._idle + 1)))
        rows = 0
        while self._requests and rows < share:
            request = self._requests[0]
            if pieces and _kind(request) != _kind(pieces[0].request):
                break
            self._requests.popleft()
            length = len(request.asked.texts)
            if request.answered.cancelled():
                self._texts -= length - request.taken
                continue
            start, end = request.taken, min(length, request.taken + MOST_TEXTS - rows)
            request.taken = end
            pieces.append(_Piece(request, start, end))
            rows += end - start
            self._texts -= end - start
            if end < length:
                rest.append(request)
        self._requests.extend(rest)
        return pieces

    def _answer(self, pieces: Sequence[_Piece]) -> None:
        answered = pieces[0].request.served.answer(_merge(pieces))
        place = 0
        for piece in pieces:
            own = slice(place, place + piece.rows)
            piece.request.documents[piece.start : piece.end] = answered.documents[own]
            piece.request.versions.update(answered.versions[own])
            place = own.stop
        self._notify(answered)

    def _notify(self, answered: AnsweredRows) -> None:
        try:
            self._on_answered(answered)
        except Exception as error:  # noqa: BLE001 -- no metric and no record costs an answer
            logger.error("answers are not counted: %s", class_and_line(error))

    def _measure(self, seconds: float) -> None:
        with self._changed:
            known = self._seconds_per_text or seconds
            self._seconds_per_text = known + _WEIGHT * (seconds - known)


def _kind(request: LineRequest) -> tuple[AnswerOptions, int]:
    """Return what requests that one call answers have in common."""
    return request.asked.options, id(request.served)


def _merge(pieces: Sequence[_Piece]) -> AskedRows:
    asked = [(piece.request.asked, slice(piece.start, piece.end)) for piece in pieces]
    first = asked[0][0]
    return AskedRows.model_construct(
        texts=[text for rows, part in asked for text in rows.texts[part]],
        columns={
            name: [value for rows, part in asked for value in rows.columns[name][part]]
            for name in first.columns
        },
        options=first.options,
    )


def _finish(pieces: Sequence[_Piece], error: BaseException | None) -> None:
    """Give callers their answers, in the event loop."""
    for piece in pieces:
        request = piece.request
        request.left -= piece.rows
        if request.answered.done():
            continue
        if error is not None:
            request.answered.set_exception(error)
        elif not request.left:
            request.answered.set_result(request)
