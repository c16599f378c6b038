"""Cancellation: a signal that waits for the end of a block, threads that stop by a condition."""

import os
import signal
import threading
import time

import pytest

from tasks.common.cancellation import deferred_termination, raise_if_stopped, stop_when
from tasks.common.errors import StoppedError


class Terminated(BaseException):
    """What Prefect's handler of SIGTERM raises, of another name."""


def terminate(*_: object) -> None:
    raise Terminated


def test_sigterm_acts_at_the_end_of_the_block() -> None:
    before = signal.signal(signal.SIGTERM, terminate)
    done = []

    def work() -> None:
        with deferred_termination():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            done.append("all of it")

    try:
        with pytest.raises(Terminated):
            work()
        assert done == ["all of it"]
        assert signal.getsignal(signal.SIGTERM) is terminate
        with pytest.raises(Terminated):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_another_thread_has_no_handler_to_defer() -> None:
    passed = []

    def work() -> None:
        with deferred_termination():
            passed.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert passed


def test_a_condition_stops_the_block_within_a_second() -> None:
    is_over = threading.Event()

    def work() -> float:
        started = time.monotonic()
        with stop_when(is_over.is_set):
            raise_if_stopped()
            is_over.set()
            while time.monotonic() - started < 10:
                try:
                    raise_if_stopped()
                except StoppedError:
                    return time.monotonic() - started
                time.sleep(0.01)
        return float("inf")

    assert work() < 10
    raise_if_stopped()  # the condition was that of the block alone
