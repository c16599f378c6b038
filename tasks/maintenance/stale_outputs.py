"""Stale output folders: found by age, and emptied of what Millstream wrote there."""

import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from tasks.common.errors import OutputInUseError
from tasks.common.files import read_plain_file
from tasks.common.settings import get_settings
from tasks.maintenance.disk_usage import is_locked, measure_files
from tasks.maintenance.types import IN_USE, YOUNGER, CleanupResult, Leftover, Limits
from tasks.output.derived_files import is_review_changed
from tasks.output.file_ids import is_shard_id, recorded_ids
from tasks.output.folder import LOCK, STAGING, locked_folder, output_errors
from tasks.output.records import SUFFIXES
from tasks.shadow.types import SHADOW

logger = logging.getLogger(__name__)

# In the order of removal: without its record, a shard does not exist. The record says whether
# people labelled the rows to review.
_SUFFIXES = {"review": SUFFIXES["review"], "records": ".json", **SUFFIXES}
_MANIFEST = "manifest.json"


def clean_outputs(limits: Limits) -> CleanupResult:
    """Return the stale output folders; remove their files if `limits.apply`.

    Searched are `scored/` and `limits.output_dirs`. Only files that Millstream wrote are removed,
    and folders that become empty. A folder that a run holds stays. No other output depends on
    these files: scoring rejects them as input, since they have the contract's columns. Recorded
    online requests stay, which no run makes again; drafts of servers that were killed do not.
    """
    leftovers = []
    kept: Counter[str] = Counter()
    for folder in _candidate_folders(limits):
        size, days = measure_files(list_own_files(folder))
        keep_reason = IN_USE if is_locked(folder / LOCK) else _youth_reason(folder, limits)
        if limits.apply and not keep_reason:
            keep_reason = _free_folder(folder, limits)
        if keep_reason:
            kept[keep_reason] += 1
            continue
        why = "nobody wrote to it since"
        if limits.apply:
            logger.info("freed %s (%d bytes): %s", folder, size, why)
        leftovers.append(Leftover(kind="outputs", name=str(folder), bytes=size, days=days, why=why))
    notes = [f"{folder} is no folder" for folder in limits.output_dirs if not folder.is_dir()]
    return CleanupResult(
        kind="outputs", leftovers=tuple(leftovers), kept=dict(kept), notes=tuple(notes)
    )


def find_output_folders(root: Path, unreadable: list[Path] | None = None) -> list[Path]:
    """Return the folders at and below `root` with files Millstream wrote, recorded ones included.

    Args:
        root: A folder, which may be missing.
        unreadable: A list to which folders that cannot be read are appended. If given, links are
            followed: their targets may refer to versions too, but are never removed.
    """
    found = set()
    seen = set()

    def note_unreadable(error: OSError) -> None:
        if unreadable is not None and not isinstance(error, FileNotFoundError):
            unreadable.append(Path(error.filename))

    for name, folders, _ in os.walk(
        root, followlinks=unreadable is not None, onerror=note_unreadable
    ):
        folder = Path(name)
        if recorded_ids(folder) or next(list_own_files(folder), None) is not None:
            found.add(folder.resolve())
            # Its own sub-folders are no outputs; another output inside it is one.
            folders[:] = [part for part in folders if part not in (*_SUFFIXES, STAGING)]
        if folder.resolve() in seen:  # a link that leads back
            folders.clear()
        seen.add(folder.resolve())
    return sorted(found)


def _candidate_folders(limits: Limits) -> list[Path]:
    given = with_shadows(limits.output_dirs)
    found = {*find_output_folders(get_settings().scored), *given}
    # Those inside others first, so that the outer ones are empty.
    return sorted((folder for folder in found if next(list_own_files(folder), None)), reverse=True)


def with_shadows(folders: Iterable[Path]) -> Iterator[Path]:
    """Yield output folders, and those inside them that have the answers of shadows."""
    for folder in folders:
        yield folder
        yield from find_output_folders(folder / SHADOW)


def list_own_files(folder: Path) -> Iterator[Path]:
    """Yield the files that Millstream wrote to an output folder, in the order of removal.

    Rows to review come first, but for files that people changed; then records, and the manifest
    last, so that the rest of an interrupted removal is neither taken for complete nor overlooked.
    Links are neither yielded nor followed.
    """
    for part, suffix in _SUFFIXES.items():
        for path in _list_files(folder / part, _is_shard_file(suffix)):
            if part != "review" or not is_review_changed(folder, path.stem):
                yield path
    for part in _SUFFIXES:
        yield from _list_files(folder / part, _is_draft)
    yield from _list_files(folder / STAGING, lambda _: True)
    yield from _list_files(folder, lambda name: _is_draft(name) and _MANIFEST in name)
    manifest = folder / _MANIFEST
    if _is_ours(manifest):
        yield manifest


def _is_shard_file(suffix: str) -> Callable[[str], bool]:
    return lambda name: name.endswith(suffix) and is_shard_id(name.removesuffix(suffix))


def _is_draft(name: str) -> bool:
    return name.startswith(".") and name.endswith(".draft")


def _list_files(folder: Path, wanted: Callable[[str], bool]) -> Iterator[Path]:
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
        content = json.loads(read_plain_file(manifest))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.keys() >= {"summary", "parameters", "shards"}


def _youth_reason(folder: Path, limits: Limits) -> str:
    return YOUNGER if limits.is_too_young(measure_files(list_own_files(folder))[1]) else ""


def _free_folder(folder: Path, limits: Limits) -> str:
    """Remove the files that Millstream wrote, or return why they stay."""
    try:
        with locked_folder(folder, "clean-up"), output_errors(folder):
            # A run may have written before the lock was held.
            if keep_reason := _youth_reason(folder, limits):
                return keep_reason
            for path in list_own_files(folder):
                path.unlink(missing_ok=True)
            for part in (*_SUFFIXES, STAGING, SHADOW):
                with suppress(OSError):  # not there, not empty, or a link
                    (folder / part).rmdir()
    except OutputInUseError:
        return IN_USE
    return ""
