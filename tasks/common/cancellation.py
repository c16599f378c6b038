"""Ends the work of other threads when the run is told to end, and a run that nobody can tell.

A signal raises in the main thread alone, and a pool waits for what its threads are at.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from tasks.common.errors import StoppedError

_PARENT = os.getppid()  # of a deployment's run: the worker

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


def end_if_cancelled_without_a_worker() -> None:
    """Send this process the signal that its worker would send, if that was killed.

    Prefect calls the run Crashed then, for it takes no other one's word that this was meant.

    Raises:
        httpx.HTTPError: If Prefect's server cannot be reached.
        PrefectHTTPStatusError: If it does not tell the state of the run.
        ObjectNotFound: If somebody has deleted the run.
    """
    if os.getppid() == _PARENT:
        return
    # A flow inside another is not cancelled by itself. Prefect's server is asked for this.
    run = flow_run.root_flow_run_id
    if not run:
        return
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(UUID(run)).state
    # By the time that one looks, the automation for those without a worker may have had its say.
    if state is not None and (state.is_cancelling() or state.is_cancelled()):
        os.kill(os.getpid(), signal.SIGTERM)


def raise_if_stopped() -> None:
    """Raise if the run is told to end; work that takes seconds calls this again and again.

    Raises:
        StoppedError: If it is.
    """
    event = _stop.get()
    if event is not None and event.is_set():
        raise StoppedError("the run was told to end; the next one goes on from here")
