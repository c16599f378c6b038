"""How far a run is: a bar in the terminal, and an artifact that moves in Prefect's UI."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar, copy_context
from typing import cast
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from tqdm import tqdm

from tasks.common.cancellation import end_if_cancelled_without_a_worker, raise_if_stopped

logger = logging.getLogger(__name__)

_current: ContextVar["Progress | None"] = ContextVar("progress", default=None)

_PERIOD_S = 2.0


class Progress:
    """Counts rows as they are done, from any thread.

    Attributes:
        failures: How often the artifact could not be updated.
    """

    def __init__(self, doing: str, total: int) -> None:
        self._total = total
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._bar = tqdm(total=total, desc=doing, unit="rows", disable=None)
        self._done = 0
        self.failures = 0

    def advance(self, rows: int) -> None:
        """Count rows that are done; more than all of them do not count."""
        with self._lock:
            rows = min(rows, self._total - self._done)
            self._done += rows
            self._bar.update(rows)

    @property
    def percent(self) -> float:
        """How much is done; all of nothing is."""
        return 100.0 * self._done / self._total if self._total else 100.0

    def __str__(self) -> str:
        rate = self._done / max(time.monotonic() - self._started, 1e-9)
        left = f"{tqdm.format_interval((self._total - self._done) / rate)} left" if rate else "…"
        return f"{self._done:,} of {self._total:,} rows, {rate:,.0f} rows/s, {left}"

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()

    def show(self, artifact: UUID) -> None:
        """Update the artifact; a server that cannot be reached costs the run nothing."""
        try:
            update_progress_artifact(artifact, self.percent, description=str(self))
            end_if_cancelled_without_a_worker()
        except (httpx.HTTPError, PrefectHTTPStatusError, ObjectNotFound) as error:
            if not self.failures:
                logger.warning("progress cannot be shown (%s)", type(error).__name__)
            self.failures += 1


@contextmanager
def shown_progress(doing: str, total: int) -> Iterator[Progress]:
    """Yield what counts rows, and show it; in a flow run, a thread moves an artifact, too.

    Args:
        doing: What is done, as scoring; the artifact is called after it.
        total: How many rows there are.
    """
    progress = Progress(doing, total)
    token = _current.set(progress)
    try:
        with (
            _moving_artifact(f"{doing}-progress", progress)
            if FlowRunContext.get()
            else nullcontext()
        ):
            yield progress
    finally:
        _current.reset(token)
        progress.close()


@contextmanager
def _moving_artifact(key: str, progress: Progress) -> Iterator[None]:
    ended = threading.Event()
    description = str(progress)
    artifact = cast(
        "UUID", create_progress_artifact(progress.percent, key=key, description=description)
    )

    def move() -> None:
        while not ended.wait(_PERIOD_S):
            progress.show(artifact)

    # Prefect keeps the address of its server in the context.
    thread = threading.Thread(target=copy_context().run, args=(move,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_PERIOD_S)  # what it shows must not come after this
        progress.show(artifact)


@contextmanager
def counting(rows: int) -> Iterator[Callable[[int], None]]:
    """Yield what counts some of `rows` as done; at the end of the block, the rest of them is.

    If the block raises, none of them counts. What is yielded raises StoppedError if the run is
    told to end.
    """
    progress, done = _current.get(), 0

    def count(some: int) -> None:
        nonlocal done
        raise_if_stopped()
        done += some
        if progress:
            progress.advance(some)

    try:
        yield count
    except BaseException:
        if progress:
            progress.advance(-done)
        raise
    count(rows - done)
