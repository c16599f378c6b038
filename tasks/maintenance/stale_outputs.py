"""Output folders that nobody has written to for long: what Millstream wrote there is freed."""

import json
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from tasks.common.errors import OutputInUseError
from tasks.common.settings import get_settings
from tasks.maintenance.disk_usage import is_held, measure
from tasks.maintenance.types import IN_USE, YOUNGER, CleanupResult, Leftover, Limits
from tasks.output.folder import LOCK, STAGING, locked_folder, output_errors
from tasks.output.records import FOLDERS

logger = logging.getLogger(__name__)

_SHARD = re.compile(r".+-[0-9a-f]{8}-\d{5,}", re.DOTALL)  # a file's name may have any character
# In the order of freeing: without its record, a shard does not exist.
_SUFFIXES = {"records": ".json", **dict.fromkeys(FOLDERS, ".parquet")}
_MANIFEST = "manifest.json"


def clean_outputs(limits: Limits) -> CleanupResult:
    """Tell of old output folders under `scored/` and `limits.output_dirs`, and free them if asked.

    Only what Millstream wrote is removed, and the folder if nothing else is in it. A folder that a
    run holds stays. Other outputs cannot refer to it: what it holds is no input for scoring, which
    refuses the columns of the contract.
    """
    leftovers = []
    kept: Counter[str] = Counter()
    for folder in _candidates(limits):
        size, days = measure(own_files(folder))
        if spared := _free(folder, limits) if limits.apply else _spared(folder, limits):
            kept[spared] += 1
            continue
        why = "nobody wrote to it since"
        if limits.apply:
            logger.info("freed %s (%d bytes): %s", folder, size, why)
        leftovers.append(Leftover(kind="outputs", name=str(folder), bytes=size, days=days, why=why))
    notes = [f"{folder} is no folder" for folder in limits.output_dirs if not folder.is_dir()]
    return CleanupResult(
        kind="outputs", leftovers=tuple(leftovers), kept=dict(kept), notes=tuple(notes)
    )


def find_outputs(root: Path, unreadable: list[Path] | None = None) -> list[Path]:
    """Return the folders at and below `root` that hold something that Millstream wrote.

    Args:
        root: A folder, which may be missing.
        unreadable: Gets what cannot be looked into. If it is given, links are followed: what they
            lead to may refer to something as well, but is not ours to free.
    """
    found = set()
    seen = set()
    for name, folders, _ in os.walk(
        root, followlinks=unreadable is not None, onerror=_noting(unreadable)
    ):
        folder = Path(name)
        if next(own_files(folder), None) is not None:
            found.add(folder.resolve())
            # Its own parts are no outputs; an output inside of another is one.
            folders[:] = [part for part in folders if part not in (*_SUFFIXES, STAGING)]
        if folder.resolve() in seen:  # a link that leads back
            folders.clear()
        seen.add(folder.resolve())
    return sorted(found)


def _noting(unreadable: list[Path] | None) -> Callable[[OSError], None]:
    def note(error: OSError) -> None:
        if unreadable is not None and not isinstance(error, FileNotFoundError):
            unreadable.append(Path(error.filename))

    return note


def _candidates(limits: Limits) -> list[Path]:
    given = {folder for folder in limits.output_dirs if next(own_files(folder), None)}
    return sorted({*find_outputs(get_settings().scored), *given})


def own_files(folder: Path) -> Iterator[Path]:
    """Yield what Millstream wrote to an output folder, in the order in which it is to be removed.

    Records come first and the manifest last, so that what a killed clean-up leaves is neither
    taken for whole nor overlooked. Links are neither yielded nor followed.
    """
    for part, suffix in _SUFFIXES.items():
        yield from _files(folder / part, _shard_file(suffix))
    for part in _SUFFIXES:
        yield from _files(folder / part, _is_draft)
    yield from _files(folder / STAGING, lambda _: True)
    yield from _files(folder, lambda name: _is_draft(name) and _MANIFEST in name)
    manifest = folder / _MANIFEST
    if _is_ours(manifest):
        yield manifest


def _shard_file(suffix: str) -> Callable[[str], bool]:
    return lambda name: (
        name.endswith(suffix) and _SHARD.fullmatch(name.removesuffix(suffix)) is not None
    )


def _is_draft(name: str) -> bool:
    return name.startswith(".") and name.endswith(".draft")


def _files(folder: Path, wanted: Callable[[str], bool]) -> Iterator[Path]:
    if folder.is_symlink():
        return
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        with os.scandir(folder) as entries:
            found = [e for e in entries if wanted(e.name) and e.is_file(follow_symlinks=False)]
        yield from sorted(Path(entry.path) for entry in found)


def _is_ours(manifest: Path) -> bool:
    if manifest.is_symlink():
        return False
    try:
        content = json.loads(manifest.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.keys() >= {"summary", "parameters", "shards"}


def _spared(folder: Path, limits: Limits) -> str:
    if is_held(folder / LOCK):
        return IN_USE
    return YOUNGER if limits.spare(measure(own_files(folder))[1]) else ""


def _free(folder: Path, limits: Limits) -> str:
    """Remove what is ours unless it is to be spared; return why it is."""
    if spared := _spared(folder, limits):
        return spared
    try:
        with locked_folder(folder, "clean-up"), output_errors(folder):
            # A run may have written between our look and the lock.
            if limits.spare(measure(own_files(folder))[1]):
                return YOUNGER
            for path in own_files(folder):
                path.unlink(missing_ok=True)
            for part in (*_SUFFIXES, STAGING):
                with suppress(OSError):  # not there, not empty, or a link
                    (folder / part).rmdir()
    except OutputInUseError:
        return IN_USE
    return ""
