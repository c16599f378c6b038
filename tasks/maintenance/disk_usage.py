"""Disk usage and age of files, and whether a lock file or a process is in use."""

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_SECONDS_A_DAY = 86_400


def files_below(path: Path) -> Iterator[Path]:
    """Yield `path`, or the files below it; links are not followed, vanished files are skipped."""
    if path.is_symlink() or not path.is_dir():
        yield path
        return
    with suppress(FileNotFoundError), os.scandir(path) as entries:
        for entry in entries:
            yield from files_below(Path(entry.path))


def measure_files(paths: Iterable[Path]) -> tuple[int, float]:
    """Return the bytes of files and the days since the last change; 0 and 0 if none exists."""
    stats = []
    for path in paths:
        with suppress(FileNotFoundError):
            stats.append(path.lstat())
    changed = max((stat.st_mtime for stat in stats), default=time.time())
    return sum(stat.st_size for stat in stats), days_since(changed)


def days_since(seconds: float) -> float:
    """Return the days since a Unix time, 0 if it is in the future."""
    return max(0.0, time.time() - seconds) / _SECONDS_A_DAY


def is_locked(lock: Path) -> bool:
    """Return whether a process holds the lock file, without creating or writing it."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NONBLOCK)  # others may have put a pipe there
    except FileNotFoundError:
        return False
    try:
        # The call of filelock, which would also create and empty the file.
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
