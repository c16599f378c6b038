"""Cancellation: a signal that waits for the end of a block, threads that stop by a condition."""

import subprocess
import sys
import threading
import time

from tasks.common.cancellation import deferred_termination, raise_if_stopped, stop_when
from tasks.common.errors import StoppedError
from tasks.common.settings import REPOSITORY

# In a process of its own: other handlers of this one, and its death, are none of the test.
SCRIPT = """
import os, signal, time
from tasks.common.cancellation import deferred_termination

class Terminated(BaseException):
    pass

def terminate(*_):
    raise Terminated

signal.signal(signal.SIGTERM, terminate)
try:
    with deferred_termination():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        print("all of it")
except Terminated:
    print("then terminated")
print(signal.getsignal(signal.SIGTERM) is terminate)
"""


def test_sigterm_acts_at_the_end_of_the_block() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert ended.stdout.splitlines() == ["all of it", "then terminated", "True"], ended.stderr


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
