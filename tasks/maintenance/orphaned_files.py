"""Checkpoints and broken downloads that nobody goes on with."""

import logging
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException

from tasks.common.settings import get_settings
from tasks.maintenance.disk_usage import files_below, is_held, is_running, measure
from tasks.maintenance.types import (
    IN_USE,
    INTERRUPTED,
    YOUNGER,
    CleanupResult,
    Kind,
    Leftover,
    Limits,
)
from tasks.tracking.mlflow_client import connect, is_transient
from tasks.training.mlflow_run import RUN_FILE

logger = logging.getLogger(__name__)

_ASIDE = ".freed"


@dataclass(frozen=True)
class _Remains:
    """Something that a process left.

    Attributes:
        path: The file or folder.
        why: Why it is not needed.
        lock: The lock of whoever may go on with it, if there is one.
        process: The one process that may, if there is one.
        beside: A file that goes with it.
    """

    path: Path
    why: str
    lock: Path | None = None
    process: int | None = None
    beside: Path | None = None

    @property
    def parts(self) -> tuple[Path, ...]:
        return (self.beside, self.path) if self.beside else (self.path,)

    @property
    def is_in_use(self) -> bool:
        if self.process is not None and is_running(self.process):
            return True
        return self.lock is not None and is_held(self.lock)

    def measure(self) -> tuple[int, float]:
        files = list(chain.from_iterable(map(files_below, self.parts)))
        return measure(files or [self.path])


def clean_checkpoints(limits: Limits) -> CleanupResult:
    """Tell of the checkpoints that no training goes on with, and free them if that is asked for.

    One that is being trained now holds the lock beside them.
    """
    return _clean("checkpoints", _checkpoints(), limits)


def clean_downloads(limits: Limits) -> CleanupResult:
    """Tell of what broken downloads and killed processes left under `data/`, and free it.

    Files that were downloaded to the end, splits and what was unpacked stay: a training may be
    run again, and what an address held then it may not hold now.
    """
    return _clean("downloads", _downloads(), limits)


def _clean(kind: Kind, remains: Iterator[_Remains], limits: Limits) -> CleanupResult:
    leftovers = []
    kept: Counter[str] = Counter()
    for remain in remains:
        size, days = remain.measure()
        leftover = Leftover(kind=kind, name=str(remain.path), bytes=size, days=days, why=remain.why)
        spared = _free(remain, limits) if limits.apply else _spared(remain, limits)
        if spared:
            kept[spared] += 1
            continue
        if limits.apply:
            logger.info("freed %s (%d bytes): %s", remain.path, size, remain.why)
        leftovers.append(leftover)
    return CleanupResult(kind=kind, leftovers=tuple(leftovers), kept=dict(kept))


def _spared(remain: _Remains, limits: Limits) -> str:
    if remain.is_in_use:
        return IN_USE
    _, days = remain.measure()
    return YOUNGER if remain.why != INTERRUPTED and limits.spare(days) else ""


def _free(remain: _Remains, limits: Limits) -> str:
    """Remove it unless it is to be spared; return why it is."""
    if spared := _spared(remain, limits):
        return spared
    try:
        with _held(remain.lock):
            # Someone may have gone on with it before we held the lock.
            if remain.why != INTERRUPTED and limits.spare(remain.measure()[1]):
                return YOUNGER
            for path in remain.parts:
                _remove(path)
    except Timeout:
        return IN_USE
    return ""


@contextmanager
def _held(lock: Path | None) -> Iterator[None]:
    if lock is None:
        yield
        return
    # It is left behind: whoever waits for it would hold a file that others no longer see.
    with FileLock(lock).acquire(timeout=0):
        yield


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    aside = path
    if not path.name.startswith("."):
        # At once, so that nobody goes on with a half of it; the next clean-up finds this name.
        aside = path.with_name(f".{path.name}{_ASIDE}")
        path.rename(aside)
    shutil.rmtree(aside)


def _checkpoints() -> Iterator[_Remains]:
    for folder in _folders(get_settings().checkpoints):
        if folder.name.startswith("."):
            if folder.name.endswith(_ASIDE):
                yield _Remains(folder, INTERRUPTED)
        else:
            yield _Remains(folder, _training_of(folder), lock=folder.with_suffix(".lock"))


def _training_of(checkpoints: Path) -> str:
    record = checkpoints / RUN_FILE
    if not record.is_file():
        return "no run goes with them"
    try:
        run = connect().get_run(record.read_text(encoding="utf-8"))
    except MlflowException as error:
        if is_transient(error):
            raise
        return "their run is gone from MLflow"
    finished = "model_uri" in run.data.tags
    return "their training finished" if finished else "their training was not continued"


def _downloads() -> Iterator[_Remains]:
    data = get_settings().data
    for folder in _folders(data / "downloads" / "scoring"):
        if folder.name.startswith("."):
            yield _Remains(folder, INTERRUPTED)
        elif found := re.fullmatch(r"[0-9a-f]{16}-(\d+)", folder.name):
            yield _Remains(folder, "its scoring was killed", process=int(found[1]))
    for part in sorted(data.glob("downloads/*/*.part")):
        lock, note = part.with_suffix(".lock"), part.with_name(f"{part.name}.json")
        yield _Remains(part, "its download was not continued", lock=lock, beside=note)
    for folder in sorted(data.glob("unpacked/.*.unpacking")):
        name = folder.name.removeprefix(".").removesuffix(".unpacking")
        lock = folder.with_name(f"{name}.lock")
        yield _Remains(folder, "its unpacking was killed", lock=lock)
    for draft in sorted(chain(data.glob(".*.draft"), data.glob("*/.*.draft"))):
        if found := re.fullmatch(r"\..*\.(\d+)\.draft", draft.name):
            yield _Remains(draft, "its writing was killed", process=int(found[1]))


def _folders(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if path.is_dir() and not path.is_symlink())
