"""Make the application in each process of online serving; all share a folder of metrics."""

import asyncio
import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from filelock import FileLock, Timeout
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tasks.common.environment import share_metrics
from tasks.serving.types import ServingOptions

# How long a thread keeps others from running: those of the engine wait for it after each batch.
# With Python's 5 ms, eight clients got 5 % fewer answers on two cores.
_SWITCH_SECONDS = 0.0005

_MOST_HEAD_BYTES = 2**16
_HEAD_SECONDS = 30.0

# Until the process ends: a lock that nothing refers to is released.
_held: list[FileLock] = []


@contextmanager
def metrics_folder(workers: int) -> Iterator[Path | None]:
    """Yield the folder that several processes write their metrics into; None for a single one."""
    if workers == 1:
        yield None
        return
    with TemporaryDirectory(prefix="millstream-metrics-") as folder:
        yield Path(folder)


def make_application(options: ServingOptions, token: str, folder: Path | None, workers: int) -> Any:
    """Return the application of this process.

    Args:
        options: How it answers.
        token: What requests have to send; empty lets everybody in.
        folder: Where the processes share their metrics; None for a single one.
        workers: How many there are.
    """
    log_to_terminal()
    sys.setswitchinterval(_SWITCH_SECONDS)
    if folder is not None:
        threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
        _take_cores(folder, workers)
        _forget_dead(folder)
        share_metrics(folder)
    # The library reads the variable as it is imported.
    from tasks.serving.application import create_application

    return create_application(options, token=token, shared_metrics=folder is not None)


class JsonHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits of a head; refusals are lines of JSON, as all else."""

    _head_timer: asyncio.TimerHandle | None = None  # None between heads
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse bytes; refuse a head that is too long."""
        head = self._head_timer
        super().data_received(data)
        if head is not None and self._head_timer is head:
            self._head_bytes += len(data)
            if self._head_bytes > _MOST_HEAD_BYTES:
                problem = f"head: more; expected at most {_MOST_HEAD_BYTES} bytes"
                self._refuse("431 Request Header Fields Too Large", problem)

    def on_message_begin(self) -> None:
        """Wait for the end of the head."""
        super().on_message_begin()
        self._begin_head()

    def on_headers_complete(self) -> None:
        """Answer the request."""
        self._end_head()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be parsed, and close the connection."""
        self._refuse("400 Bad Request", msg)

    def _begin_head(self) -> None:
        self._end_head()
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(_HEAD_SECONDS, self._give_up)

    def _end_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        problem = f"the head of a request did not arrive within {_HEAD_SECONDS:g} s"
        self._refuse("408 Request Timeout", problem)

    def _refuse(self, status: str, error: str) -> None:
        content = json.dumps({"error": error}).encode() + b"\n"
        head = (
            f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + content)
        self.transport.close()


def _end_with_parent() -> None:
    """End this process when the one that started it has ended, as by SIGKILL.

    It would go on to answer, and hold the address.
    """
    if parent := multiprocessing.parent_process():
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _take_cores(folder: Path, workers: int) -> None:
    """Take a share of the cores, that of a process which has ended included.

    An engine has a stream a core: all processes on all cores would slow each other down.
    """
    cores = sorted(os.sched_getaffinity(0))
    if workers > len(cores):
        return
    for number in range(workers):
        lock = FileLock(folder / f"cores-{number}.lock")
        with suppress(Timeout):
            lock.acquire(timeout=0)
            _held.append(lock)
            os.sched_setaffinity(0, cores[number::workers])
            return


def _forget_dead(folder: Path) -> None:
    """Remove gauges of processes that have ended: counts and sums of theirs stay."""
    for path in folder.glob("gauge_live*_*.db"):
        if not psutil.pid_exists(int(path.stem.rpartition("_")[2])):
            path.unlink(missing_ok=True)


def log_to_terminal() -> None:
    """Give the loggers of a server a handler of their own; that of Prefect takes 0.3 ms a line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s | %(levelname)-7s | %(message)s"))
    for name in ("millstream", "pyfunc", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.handlers, logger.propagate = [handler], False
