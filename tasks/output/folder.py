"""The output folder: checked early, held by one run at a time, and full at times."""

import errno
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile

from filelock import FileLock, Timeout

from tasks.common.errors import OutputError, OutputInUseError, ParameterError

logger = logging.getLogger(__name__)

LOCK = ".lock"
STAGING = ".staged"  # rows on their way to the tasks that score them
_HOLDER = ".lock.json"

# Another attempt would meet the same: someone has to make room, or the folder writable.
_NEEDS_SOMEONE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}
)


def output_folder(output_dir: str) -> Path:
    """Return the absolute path of a folder that exists or can be made.

    Raises:
        ParameterError: If it is empty, or a file is in its place.
        OutputError: If it may not be written, or its disk is full.
    """
    if not output_dir.strip():
        raise ParameterError("output_dir: missing; expected a folder")
    folder = Path(output_dir).expanduser().resolve()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise ParameterError(f"output_dir: {existing} is a file; expected a folder")
    try:
        # A permission that looks right may not be, as under /proc.
        with TemporaryFile(dir=existing) as probe:
            probe.write(b"probe")
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise OutputError(
            f"output_dir: {existing} cannot be written ({reason}); expected a folder that can be"
        ) from error
    return folder


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn the errors of a disk that is full, or closed to us, into one that ends the run.

    Raises:
        OutputError: In place of these.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NEEDS_SOMEONE:
            raise
        # Arrow's own words for an error number are several lines.
        reason = os.strerror(error.errno)
        raise OutputError(
            f"output_dir: {folder} cannot be written ({reason}); what was published before is "
            "safe, and the next run goes on from there"
        ) from error


@contextmanager
def sole_user(folder: Path, run: str) -> Iterator[None]:
    """Hold `folder`, which is made if it is missing, against other runs.

    The operating system holds the lock, so that it goes with the process.

    Args:
        folder: The output folder.
        run: What others are told of this run.

    Raises:
        OutputInUseError: If another run holds it.
        OutputError: If it cannot be made.
    """
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise OutputInUseError(
            f"output_dir: {folder} is in use by {_holder(folder)}; expected a folder of its own, "
            "or that run to end"
        ) from error
    try:
        _introduce(folder, run)
        yield
    finally:
        try:
            (folder / _HOLDER).unlink(missing_ok=True)
            _remove_if_unused(folder)
        finally:
            lock.release()


def _introduce(folder: Path, run: str) -> None:
    holder = {
        "run": run,
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    # Not into the lock file: whoever tries to take the lock empties that. On a full disk others
    # are not told, which would stop clean_up from making room.
    try:
        (folder / _HOLDER).write_text(json.dumps(holder), encoding="utf-8")
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        logger.warning("%s: others are not told which run holds it (%s)", folder, reason)


def _remove_if_unused(folder: Path) -> None:
    """Remove the folder of a run that ended before it had anything to write."""
    if [path.name for path in folder.iterdir()] == [LOCK]:
        # Whoever waits for a lock file that is gone makes a new one.
        (folder / LOCK).unlink()
        try:
            folder.rmdir()
        except OSError as error:
            # Such a one is at work in it, or was.
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                raise


def _holder(folder: Path) -> str:
    try:
        holder = json.loads((folder / _HOLDER).read_text(encoding="utf-8"))
        return "run {run} (process {process} on {host}, since {since})".format(**holder)
    except (OSError, ValueError, KeyError, TypeError):
        return "another run"
