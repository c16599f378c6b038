"""Progress of a run: a bar in the terminal, and a progress artifact in Prefect's UI."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar, copy_context
from typing import Protocol, cast
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from tqdm import tqdm

from tasks.common.cancellation import raise_if_stopped, terminate_if_cancelled_without_worker

logger = logging.getLogger(__name__)


class Counter(Protocol):
    """What counts finished rows."""

    def advance(self, rows: int) -> None:
        """Add finished rows; a negative number takes some back."""


_current: ContextVar[Counter | None] = ContextVar("progress", default=None)

_UPDATE_INTERVAL_S = 2.0


class Progress:
    """Counts finished rows; thread-safe.

    Attributes:
        failures: Number of failed updates of the artifact.
    """

    def __init__(self, doing: str, total: int) -> None:
        self._total = total
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._bar = tqdm(total=total, desc=doing, unit="rows", disable=None)
        self._done = 0
        self.failures = 0

    def advance(self, rows: int) -> None:
        """Add finished rows, up to the total."""
        with self._lock:
            rows = min(rows, self._total - self._done)
            self._done += rows
            self._bar.update(rows)

    @property
    def percent(self) -> float:
        """From 0 to 100; 100 if there are no rows."""
        return 100.0 * self._done / self._total if self._total else 100.0

    def __str__(self) -> str:
        rate = self._done / max(time.monotonic() - self._started, 1e-9)
        left = f"{tqdm.format_interval((self._total - self._done) / rate)} left" if rate else "…"
        return f"{self._done:,} of {self._total:,} rows, {rate:,.0f} rows/s, {left}"

    def close(self) -> None:
        """Close the bar."""
        self._bar.close()

    def update_artifact(self, artifact: UUID) -> None:
        """Update the artifact; if the server cannot be reached, log one warning."""
        try:
            update_progress_artifact(artifact, self.percent, description=str(self))
            terminate_if_cancelled_without_worker()
        except (httpx.HTTPError, PrefectHTTPStatusError, ObjectNotFound) as error:
            if not self.failures:
                logger.warning("progress cannot be shown (%s)", type(error).__name__)
            self.failures += 1


@contextmanager
def show_progress(doing: str, total: int) -> Iterator[Progress]:
    """Yield a Progress and show it; in a flow run, a thread also updates an artifact.

    Args:
        doing: The activity, such as scoring; the artifact's key contains it.
        total: The number of rows.
    """
    progress = Progress(doing, total)
    token = _current.set(progress)
    try:
        with (
            _progress_artifact(f"{doing}-progress", progress)
            if FlowRunContext.get()
            else nullcontext()
        ):
            yield progress
    finally:
        _current.reset(token)
        progress.close()


@contextmanager
def relay_progress(counter: Counter) -> Iterator[None]:
    """Let `track_rows` in the block count to `counter`, as on a worker, whose driver shows it."""
    token = _current.set(counter)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def _progress_artifact(key: str, progress: Progress) -> Iterator[None]:
    ended = threading.Event()
    description = str(progress)
    artifact = cast(
        "UUID", create_progress_artifact(progress.percent, key=key, description=description)
    )

    def update() -> None:
        while not ended.wait(_UPDATE_INTERVAL_S):
            progress.update_artifact(artifact)

    # Prefect keeps the URL of its server in the context.
    thread = threading.Thread(target=copy_context().run, args=(update,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_UPDATE_INTERVAL_S)  # its update must not come after the last one
        progress.update_artifact(artifact)


@contextmanager
def track_rows(rows: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that counts some of `rows` as done; the rest counts at the block's end.

    If the block raises, none of them counts. The function raises StoppedError if the run is to
    stop.
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
