"""The lock of a state folder's services: one `make up` or `make down` at a time."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from tasks.common.settings import Settings


@contextmanager
def services_lock(settings: Settings) -> Iterator[None]:
    """Hold the lock for the block; wait for another `up` or `down` of this state folder."""
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
