"""Batching of rows that several callers submit: what waits while the engine computes is merged.

There is no timer: rows that find a free stream are computed at once, and load makes the batches
(the dynamic batching of Triton, without its delay:
https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/batcher.html).
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

from .batching import CALL_TOKENS
from .bisection import is_failure
from .engines.engine import Logits
from .tokens import Tokens

Compute = Callable[[Sequence[Tokens], int], Logits]


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    """Rows of a caller that are computed together.

    Attributes:
        caller: Who submitted it.
        rows: Their tokens.
        length: Their padded length.
        batch_tokens: Padded tokens in a batch at most.
        logits: What the caller waits for.
    """

    caller: object
    rows: Sequence[Tokens]
    length: int
    batch_tokens: int
    logits: Future[Logits] = field(default_factory=Future)


class BatchQueue:
    """Rows that wait for an engine; thread-safe."""

    def __init__(self, compute: Compute, threads: Executor, streams: int) -> None:
        """Take the engine.

        Args:
            compute: Returns the logits of rows at a padded length; called by several threads.
            threads: What calls it.
            streams: Batches that the engine computes at the same time. Further threads keep the
                next ones ready if they are half full; smaller ones wait for a stream, and grow.
        """
        self._compute = compute
        self._threads = threads
        self._streams = streams
        self._running = 0
        self._listener: Callable[[int], None] = _ignore
        self._waiting: deque[_Request] = deque()
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Rows that wait to be computed."""
        with self._lock:
            return sum(len(request.rows) for request in self._waiting)

    def watch(self, listener: Callable[[int], None]) -> None:
        """Call a function with the rows of each batch before it is computed."""
        self._listener = listener

    def submit(
        self, caller: object, rows: Sequence[Tokens], length: int, batch_tokens: int
    ) -> Future[Logits]:
        """Return the future logits of rows; cancelling it drops them, unless they are computed.

        Args:
            caller: Rows of one caller are not merged: it has batched them as it wants to, and the
                scores of a caller who is alone do not depend on the time.
            rows: Their tokens.
            length: Their padded length.
            batch_tokens: Padded tokens in a batch at most, with rows of others; the rows alone may
                have more.
        """
        request = _Request(caller, rows, length, batch_tokens)
        with self._lock:
            self._waiting.append(request)
        self._threads.submit(self._run_next)
        return request.logits

    def _run_next(self) -> None:
        with self._lock:
            taken = self._take_batch()
            if not taken:
                return
            self._running += 1
        try:
            self._run([one for one in taken if one.logits.set_running_or_notify_cancel()])
        finally:
            with self._lock:
                self._running -= 1
                rest = bool(self._waiting)
            if rest:  # what was left waiting for this stream
                self._threads.submit(self._run_next)

    def _take_batch(self) -> list[_Request]:
        """Take the oldest request with those that join its batch, the most similar ones first."""
        if not self._waiting:
            return []
        first, *others = self._waiting
        taken, rows = [first], len(first.rows)
        longest, budget = first.length, first.batch_tokens
        callers = {id(first.caller)}
        for request in sorted(others, key=lambda other: abs(other.length - first.length)):
            high, most = max(longest, request.length), min(budget, request.batch_tokens)
            padding = rows * (high - longest) + len(request.rows) * (high - request.length)
            total = rows + len(request.rows)
            fits = total * high <= most and padding <= CALL_TOKENS
            if fits and id(request.caller) not in callers:
                callers.add(id(request.caller))
                taken.append(request)
                rows, longest, budget = total, high, most
        if self._running >= self._streams and 2 * rows * longest < budget:
            return []
        for request in taken:
            self._waiting.remove(request)
        return taken

    def _run(self, requests: Sequence[_Request]) -> None:
        """Compute requests together; if that fails, each half, down to single requests."""
        if not requests:
            return
        rows = [row for request in requests for row in request.rows]
        self._listener(len(rows))
        try:
            logits = self._compute(rows, max(request.length for request in requests))
        except BaseException as error:
            if len(requests) > 1 and is_failure(error):
                middle = len(requests) // 2
                self._run(requests[:middle])
                self._run(requests[middle:])
                return
            for request in requests:
                request.logits.set_exception(error)
            if not is_failure(error):
                raise
            return
        start = 0
        for request in requests:
            end = start + len(request.rows)
            request.logits.set_result(logits[start:end])
            start = end


def _ignore(rows: int) -> None:
    """Nobody watches the batches."""
