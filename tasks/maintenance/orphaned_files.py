"""Orphaned files: checkpoints that no training resumes, and what killed processes left."""

import logging
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException

from tasks.common.settings import get_settings
from tasks.maintenance.disk_usage import files_below, is_locked, is_running, measure_files
from tasks.maintenance.types import (
    IN_USE,
    INTERRUPTED,
    YOUNGER,
    CleanupResult,
    Leftover,
    LeftoverKind,
    Limits,
)
from tasks.tracking.mlflow_client import connect, is_transient
from tasks.training.types import RUN_FILE

logger = logging.getLogger(__name__)

_FREED_SUFFIX = ".freed"
_DRAFTS = (".*.draft", "*/.*.draft", "downloads/*/.*.draft")
_UNIQUE = r"(\d+)(?:-[0-9a-f]+)?"  # `tasks.common.files.unique_name`; a number alone in former ones


@dataclass(frozen=True)
class _Orphan:
    """A file or folder that a process left.

    Attributes:
        path: The file or folder.
        why: Why it is not needed.
        lock: The lock file of a process that may resume it, if any.
        process: The number of the only process that may use it, if any.
        beside: A file that is removed along with it.
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
        return self.lock is not None and is_locked(self.lock)

    def measure(self) -> tuple[int, float]:
        files = list(chain.from_iterable(map(files_below, self.parts)))
        return measure_files(files or [self.path])


def clean_checkpoints(limits: Limits) -> CleanupResult:
    """Return the checkpoints that no training resumes; remove them if `limits.apply`.

    A training that runs holds the lock beside its checkpoints.
    """
    return _clean("checkpoints", _find_checkpoints(), limits)


def clean_downloads(limits: Limits) -> CleanupResult:
    """Return what broken downloads and killed processes left under `data/`; remove it if asked.

    Complete downloads, splits and unpacked archives stay: a training may be repeated, and its
    URL may serve nothing by then.
    """
    return _clean("downloads", _find_downloads(), limits)


def _clean(kind: LeftoverKind, orphans: Iterator[_Orphan], limits: Limits) -> CleanupResult:
    leftovers = []
    kept: Counter[str] = Counter()
    for orphan in orphans:
        size, days = orphan.measure()
        keep_reason = IN_USE if orphan.is_in_use else _youth_reason(orphan, limits)
        if limits.apply and not keep_reason:
            keep_reason = _free_orphan(orphan, limits)
        if keep_reason:
            kept[keep_reason] += 1
            continue
        if limits.apply:
            logger.info("freed %s (%d bytes): %s", orphan.path, size, orphan.why)
        name = str(orphan.path)
        leftovers.append(Leftover(kind=kind, name=name, bytes=size, days=days, why=orphan.why))
    return CleanupResult(kind=kind, leftovers=tuple(leftovers), kept=dict(kept))


def _youth_reason(orphan: _Orphan, limits: Limits) -> str:
    young = orphan.why != INTERRUPTED and limits.is_too_young(orphan.measure()[1])
    return YOUNGER if young else ""


def _free_orphan(orphan: _Orphan, limits: Limits) -> str:
    """Remove an orphan, or return why it stays."""
    # The lock file stays: a process that waits for a deleted one would lock what others never see.
    lock: AbstractContextManager[object] = (
        FileLock(orphan.lock, timeout=0) if orphan.lock else nullcontext()
    )
    try:
        with lock:
            # It may have been resumed before the lock was held.
            if keep_reason := _youth_reason(orphan, limits):
                return keep_reason
            for path in orphan.parts:
                _remove_path(path)
    except Timeout:
        return IN_USE
    return ""


def _remove_path(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    aside = path
    if not path.name.startswith("."):
        # Atomic, so that nobody resumes a part of it; the next clean-up finds this name.
        aside = path.with_name(f".{path.name}{_FREED_SUFFIX}")
        path.rename(aside)
    shutil.rmtree(aside)


def _find_checkpoints() -> Iterator[_Orphan]:
    for folder in _subfolders(get_settings().checkpoints):
        if folder.name.startswith("."):
            if folder.name.endswith(_FREED_SUFFIX):
                yield _Orphan(folder, INTERRUPTED)
        else:
            yield _Orphan(folder, _checkpoint_reason(folder), lock=folder.with_suffix(".lock"))


def _checkpoint_reason(checkpoints: Path) -> str:
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


def _find_downloads() -> Iterator[_Orphan]:
    data = get_settings().data
    for folder in _subfolders(data / "downloads" / "scoring"):
        if folder.name.startswith("."):
            yield _Orphan(folder, INTERRUPTED)
        elif found := re.fullmatch(rf"[0-9a-f]{{16}}-{_UNIQUE}", folder.name):
            yield _Orphan(folder, "its scoring was killed", process=int(found[1]))
    for part in sorted(data.glob("downloads/*/*.part")):
        lock, note = part.with_suffix(".lock"), part.with_name(f"{part.name}.json")
        yield _Orphan(part, "its download was not continued", lock=lock, beside=note)
    for folder in sorted(data.glob("unpacked/.*.unpacking")):
        name = folder.name.removeprefix(".").removesuffix(".unpacking")
        lock = folder.with_name(f"{name}.lock")
        yield _Orphan(folder, "its unpacking was killed", lock=lock)
    for draft in sorted(chain.from_iterable(map(data.glob, _DRAFTS))):
        if found := re.fullmatch(rf"\..*\.{_UNIQUE}\.draft", draft.name):
            yield _Orphan(draft, "its writing was killed", process=int(found[1]))


def _subfolders(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if path.is_dir() and not path.is_symlink())
