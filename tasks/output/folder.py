"""The output folder: validated before a run, locked against other runs, disk errors handled."""

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
from tasks.common.files import published_file
from tasks.common.urls import resolved_path
from tasks.output.file_ids import recorded_ids
from tasks.output.place import PLACE_EXPECTED, check_output_place

logger = logging.getLogger(__name__)

LOCK = ".lock"
STAGING = ".staged"  # rows on their way to the tasks that score them
_LONGEST_FOLDER = 3_500  # bytes, of the 4,095 that a path may have
_HOLDER = ".lock.json"

# A retry fails alike: somebody has to free disk space or change permissions.
_PERMANENT_ERRNOS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}
)


def resolve_output_folder(output_dir: str) -> Path:
    """Return the absolute path of a writable folder for the output of a run; see below.

    Raises:
        ParameterError: If it cannot be one, or has recorded requests: a run removes the drafts of
            runs that were killed, and a server may be writing its own.
        OutputError: If it may not be written, or its disk is full.
    """
    folder = resolve_writable_folder("output_dir", output_dir)
    if recorded_ids(folder):
        raise ParameterError(
            f"output_dir: {folder} has recorded online requests; expected a folder of its own"
        )
    return folder


def resolve_writable_folder(parameter: str, text: str) -> Path:
    """Return the absolute path of a writable folder that exists or can be created.

    Args:
        parameter: The parameter that has it, for the error.
        text: The path.

    Raises:
        ParameterError: If it is empty or an address, or a file is in its place.
        OutputError: If it may not be written, or its disk is full.
    """
    if not text.strip():
        raise ParameterError(f"{parameter}: missing; expected a folder")
    check_output_place(parameter, text)
    folder = resolved_path(parameter, text, PLACE_EXPECTED)
    if (length := len(os.fsencode(folder))) > _LONGEST_FOLDER:
        raise ParameterError(
            f"{parameter}: a path of {length} bytes; expected at most {_LONGEST_FOLDER}, since "
            "those of the files in it are longer"
        )
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise ParameterError(f"{parameter}: {existing} is a file; expected a folder")
    try:
        # Permission bits mislead, as under /proc.
        with TemporaryFile(dir=existing) as probe:
            probe.write(b"probe")
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise OutputError(
            f"{parameter}: {existing} cannot be written ({reason}); expected a folder that can be"
        ) from error
    return folder


@contextmanager
def output_errors(folder: Path) -> Iterator[None]:
    """Turn the errors of a full or read-only disk into an OutputError, which ends the run.

    Raises:
        OutputError: In place of these.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _PERMANENT_ERRNOS:
            raise
        # Arrow's message for an error number has several lines.
        reason = os.strerror(error.errno)
        raise OutputError(
            f"output_dir: {folder} cannot be written ({reason}); what was published before is "
            "safe, and the next run goes on from there"
        ) from error


@contextmanager
def locked_folder(folder: Path, run: str) -> Iterator[None]:
    """Lock `folder` against other runs; it is created if missing.

    The operating system releases the lock when the process ends.

    Args:
        folder: The output folder.
        run: The name of this run in the error of others.

    Raises:
        OutputInUseError: If another run holds the lock.
        OutputError: If the folder cannot be created.
    """
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise OutputInUseError(
            f"output_dir: {folder} is in use by {_describe_holder(folder)}; expected a folder of "
            "its own, or that run to end"
        ) from error
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise OutputError(
            f"output_dir: {folder / LOCK} cannot be opened ({reason}); expected a file of its own"
        ) from error
    try:
        _write_holder(folder, run)
        yield
    finally:
        try:
            (folder / _HOLDER).unlink(missing_ok=True)
            _remove_if_empty(folder)
        finally:
            lock.release()


def _write_holder(folder: Path, run: str) -> None:
    holder = {
        "run": run,
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    # Not into the lock file: each attempt to acquire the lock empties it. On a full disk the
    # holder stays unnamed: an error would stop clean_up from freeing space.
    try:
        # Replaced, not opened: others may have put a link there.
        with published_file(folder / _HOLDER) as draft:
            draft.write_text(json.dumps(holder), encoding="utf-8")
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        logger.warning("%s: the note of which run holds it cannot be written (%s)", folder, reason)


def _remove_if_empty(folder: Path) -> None:
    if [path.name for path in folder.iterdir()] == [LOCK]:
        # A process that waits for a deleted lock file creates a new one.
        (folder / LOCK).unlink()
        try:
            folder.rmdir()
        except OSError as error:
            # Such a process uses the folder, or did.
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                raise


def _describe_holder(folder: Path) -> str:
    try:
        holder = json.loads((folder / _HOLDER).read_text(encoding="utf-8"))
        return "run {run} (process {process} on {host}, since {since})".format(**holder)
    except (OSError, ValueError, KeyError, TypeError):
        return "another run"
