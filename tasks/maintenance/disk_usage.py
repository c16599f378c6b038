"""Size and age of files, and whether a process holds or uses them."""

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_SECONDS_A_DAY = 86_400


def files_below(path: Path) -> Iterator[Path]:
    """Yield `path`, or the files below it, links as themselves; what vanishes meanwhile is not."""
    if path.is_symlink() or not path.is_dir():
        yield path
        return
    with suppress(FileNotFoundError), os.scandir(path) as entries:
        for entry in entries:
            yield from files_below(Path(entry.path))


def measure(paths: Iterable[Path]) -> tuple[int, float]:
    """Return the bytes of files and the days since the last of them changed; 0 if none is there."""
    stats = []
    for path in paths:
        with suppress(FileNotFoundError):
            stats.append(path.lstat())
    changed = max((stat.st_mtime for stat in stats), default=time.time())
    return sum(stat.st_size for stat in stats), days_since(changed)


def days_since(seconds: float) -> float:
    """Return the days from a Unix time to now; none if it is to come."""
    return max(0.0, time.time() - seconds) / _SECONDS_A_DAY


def is_held(lock: Path) -> bool:
    """Return whether a process holds the lock file; nothing is written, unlike to take it."""
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # As filelock does, which would make the file and empty it.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def is_running(process: int) -> bool:
    """Return whether a process of that number runs on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
