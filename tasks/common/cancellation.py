"""Cancellation: stop worker threads when a run is cancelled, and a run whose worker was killed.

A signal raises in the main thread alone, and a thread pool waits for its threads.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from uuid import UUID

from tasks.common.errors import StoppedError

_PARENT_PID = os.getppid()  # in a deployment's run, the worker

_WATCH_INTERVAL_S = 0.25

_stop_event: ContextVar[threading.Event | None] = ContextVar("stop", default=None)


@contextmanager
def stop_threads_on_error() -> Iterator[None]:
    """Make `raise_if_stopped` raise in the threads of the block, once the block raises.

    Those threads need a copy of this thread's context, as those of Prefect's task runners have.
    """
    event = threading.Event()
    token = _stop_event.set(event)
    try:
        yield
    except BaseException:
        event.set()
        raise
    finally:
        _stop_event.reset(token)


@contextmanager
def stop_when(is_over: Callable[[], bool]) -> Iterator[None]:
    """Make `raise_if_stopped` raise in the block within a second after `is_over` returns True."""
    event, ended = threading.Event(), threading.Event()

    def watch() -> None:
        while not ended.wait(_WATCH_INTERVAL_S):
            if is_over():
                event.set()
                return

    token = _stop_event.set(event)
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        _stop_event.reset(token)


@contextmanager
def deferred_termination() -> Iterator[None]:
    """Let SIGTERM act at the end of the block, in the main thread, and not within it.

    Prefect raises from the signal's handler, wherever the thread is: pydantic would turn that into
    an error of its own, and a shard would be published by half.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # no handler runs here
        return
    received: list[tuple[int, FrameType | None]] = []
    handler = signal.signal(signal.SIGTERM, lambda *arguments: received.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
        if received and callable(handler):
            handler(*received[0])
        elif received:
            os.kill(os.getpid(), signal.SIGTERM)


def terminate_if_cancelled_without_worker() -> None:
    """Send this process SIGTERM if its run is cancelled and its worker, which would, was killed.

    The run ends in state Crashed: Prefect sets Cancelled only if the worker ends the run.

    Raises:
        httpx.HTTPError: If Prefect's server cannot be reached.
        PrefectHTTPStatusError: If the server returns an error.
        ObjectNotFound: If the run was deleted.
    """
    if os.getppid() == _PARENT_PID:
        return
    # Most modules that import this one never come here, and importing Prefect takes a second.
    from prefect.client.orchestration import get_client
    from prefect.runtime import flow_run

    # Prefect cancels the root of nested flows alone. Reading its id calls Prefect's server.
    run = flow_run.root_flow_run_id
    if not run:
        return
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(UUID(run)).state
    # The automation for runs without a worker may have set Cancelled already.
    if state is not None and (state.is_cancelling() or state.is_cancelled()):
        os.kill(os.getpid(), signal.SIGTERM)


def raise_if_stopped() -> None:
    """Raise if the run is to stop; code that runs for seconds calls this repeatedly.

    Raises:
        StoppedError: If it is.
    """
    event = _stop_event.get()
    if event is not None and event.is_set():
        raise StoppedError("the run was asked to end; the next one goes on from here")
