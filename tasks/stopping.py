"""Ends the work of other threads when the run is told to end.

A signal raises in the main thread alone, and a pool waits for what its threads are at.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tasks.errors import StoppedError

_stop: ContextVar[threading.Event | None] = ContextVar("stop", default=None)


@contextmanager
def stopping_others() -> Iterator[None]:
    """Make `raise_if_stopped` raise in the threads that the block started, once it is left early.

    Those threads need a copy of this thread's context, as Prefect's task runners give them.
    """
    event = threading.Event()
    token = _stop.set(event)
    try:
        yield
    except BaseException:
        event.set()
        raise
    finally:
        _stop.reset(token)


def raise_if_stopped() -> None:
    """Raise if the run is told to end; work that takes seconds calls this again and again.

    Raises:
        StoppedError: If it is.
    """
    event = _stop.get()
    if event is not None and event.is_set():
        raise StoppedError("the run was told to end; the next one goes on from here")
