"""What starts and ends the services of a state folder does so alone."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from tasks.common.settings import Settings


@contextmanager
def services_lock(settings: Settings) -> Iterator[None]:
    """Keep other `up` and `down` of this state folder waiting; wait for one that is at work."""
    lock = FileLock(settings.root / "services.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        sys.stderr.write("waiting for another make up or make down to end\n")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
