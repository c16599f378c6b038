"""Files: atomic writes (temporary name, fsync, rename), locks that are waited for, digests."""

import errno
import hashlib
import logging
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)


@contextmanager
def waited_lock(path: Path, whom: str) -> Iterator[None]:
    """Hold a lock; if another process has it, log for what one waits, and wait."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("waiting for %s (%s)", whom, path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def published_file(target: Path) -> Iterator[Path]:
    """Yield a path to write; on success it is flushed to disk and renamed to `target`.

    On an error nothing is left behind, and an earlier `target` stays as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with flushed_file(target.with_name(f".{target.name}.{unique_name()}.draft")) as draft:
        yield draft
    try:
        move_file(draft, target)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def flushed_file(path: Path) -> Iterator[Path]:
    """Yield `path`, in a folder that is there; flush it to disk, or remove it on an error."""
    try:
        yield path
        _fsync(path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def move_file(draft: Path, target: Path) -> None:
    """Rename a flushed file of the same file system, replacing `target`; it survives a crash."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft.replace(target)
    _fsync(target.parent)


@contextmanager
def published_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; on success it is renamed to `target`, replacing it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{unique_name()}.draft")
    draft.mkdir()
    try:
        yield draft
        shutil.rmtree(target, ignore_errors=True)
        try:
            draft.rename(target)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            # Another process published it between these two calls.
            shutil.rmtree(target)
            draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def absolute_path(path: Path) -> Path:
    """Return an absolute path of the same name: the links of its folders are followed, not its own.

    The name of a link is what the user sees, and says what its file is; the target of one by
    Hugging Face, DVC or git-annex is named by a digest.
    """
    return path.parent.resolve() / path.name


def unique_name() -> str:
    """Return a name that no other process uses: its number, and random digits.

    The number alone is not unique: every container has a process 1.
    """
    return f"{os.getpid()}-{secrets.token_hex(4)}"


def read_plain_file(path: Path) -> bytes:
    """Return the content of a file that others may have replaced, as by a pipe, without waiting.

    Raises:
        OSError: If it cannot be read, or is no plain file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "no plain file", str(path))
        return file.read()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
