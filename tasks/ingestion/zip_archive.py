"""Safe extraction of untrusted zip archives: limits, no path traversal or links, atomic."""

import re
import shutil
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from filelock import FileLock
from tqdm import tqdm

from tasks.common.errors import DataError
from tasks.common.settings import get_settings
from tasks.common.text import printable
from tasks.ingestion.disk_budget import DiskBudget

MAX_ENTRIES = 200_000  # the IMDB reviews, one file each, are 100,000

_CHUNK_BYTES = 1 << 16
# Only for these does zipfile bound the bytes it unpacks at a time; with bzip2, the 4 KiB that it
# reads at least can become 5 GB in memory before they are counted.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DUPLICATE = "is there twice, expected each path once"
# For damaged bytes zipfile raises more than BadZipFile.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)


def unpack_archive(
    archive: Path, folder: Path, *, max_bytes: int | None = None, max_entries: int = MAX_ENTRIES
) -> Path:
    """Unpack a zip into a folder, atomically.

    An existing folder is returned as it is, whatever it holds: name it after the archive's
    digest. Several processes may unpack into one folder at once. Permissions of entries are
    ignored.

    Args:
        archive: The zip file, with stored or deflated entries.
        folder: The folder to create; `<folder>.lock` is left beside it, empty.
        max_bytes: Limit of the unpacked bytes of all entries; written bytes are counted, too, not
            only those that the archive declares. None takes `MILLSTREAM_UNPACK_LIMIT`.
        max_entries: Limit of the number of files and folders.

    Returns:
        `folder`.

    Raises:
        DataError: The archive is damaged, exceeds a limit or the free disk, or has an entry that
            leaves the folder, is a link or a device, is encrypted or occurs twice; or the folder
            cannot be written.
    """
    with _archive_errors(archive, folder):
        if folder.is_dir():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(folder.name + ".lock")):
            if not folder.is_dir():
                limit = get_settings().unpack_limit if max_bytes is None else max_bytes
                _unpack_to_temporary(archive, folder, limit, max_entries)
    return folder


@contextmanager
def _archive_errors(archive: Path, folder: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise DataError(f"{archive}: {error}, expected an undamaged zip archive") from error
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{archive}: cannot be unpacked into {folder} ({reason})") from error


def _unpack_to_temporary(archive: Path, folder: Path, max_bytes: int, max_entries: int) -> None:
    # The lock allows a fixed name, so that the rest of a killed process is found and removed.
    aside = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        with zipfile.ZipFile(archive) as source_zip:
            budget = DiskBudget(aside, max_bytes, "MILLSTREAM_UNPACK_LIMIT")
            entries = _check_entries(archive, source_zip.infolist(), budget, max_entries)
            _extract_entries(archive, source_zip, entries, aside, max_bytes)
        aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _check_entries(
    archive: Path, entries: list[zipfile.ZipInfo], budget: DiskBudget, max_entries: int
) -> dict[PurePosixPath, zipfile.ZipInfo]:
    if len(entries) > max_entries:
        raise DataError(f"{archive}: {len(entries)} entries, expected at most {max_entries}")
    if fault := budget.fault(sum(entry.file_size for entry in entries)):
        raise DataError(f"{archive}: unpacks to {fault}")
    paths = [(PurePosixPath(entry.orig_filename), entry) for entry in entries]
    counts = Counter(path for path, _ in paths)
    for path, entry in paths:
        fault = _entry_fault(entry) or (_DUPLICATE if counts[path] > 1 else None)
        if fault:
            raise DataError(f"{archive}: entry {entry.orig_filename!r} {fault}")
    return dict(paths)


def _entry_fault(entry: zipfile.ZipInfo) -> str | None:
    """Return why an entry is refused and what was expected, or None."""
    # `filename` is cut at a NUL.
    name = entry.orig_filename
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        return "is absolute, expected a path inside the archive"
    if ".." in name.split("/"):
        return "leaves the folder, expected a path inside the archive"
    if not name or re.search(r"[\\\x00-\x1f\x7f]", name):
        return "has an unusable name, expected a path with forward slashes"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return f"is a link or a device (mode {kind:#o}), expected a file or folder"
    if entry.flag_bits & 0x1:
        return "is encrypted, expected no password"
    if entry.compress_type not in _METHODS:
        return f"is packed with method {entry.compress_type}, expected stored or deflated"
    return None


def _extract_entries(
    archive: Path,
    source_zip: zipfile.ZipFile,
    entries: dict[PurePosixPath, zipfile.ZipInfo],
    root: Path,
    max_bytes: int,
) -> None:
    total = sum(entry.file_size for entry in entries.values())
    bar = tqdm(
        desc=f"unpack {printable(archive.name)}",
        total=total,
        unit="B",
        unit_scale=True,
        disable=None,
    )
    written = 0
    with bar:
        for path, entry in entries.items():
            target = root / path
            if entry.orig_filename.endswith("/"):
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with source_zip.open(entry) as source, target.open("xb") as file:
                while chunk := source.read(_CHUNK_BYTES):
                    written += len(chunk)
                    if written > max_bytes:
                        raise DataError(
                            f"{archive}: entry {entry.orig_filename!r} goes past {max_bytes} "
                            "unpacked bytes in all, expected fewer"
                        )
                    bar.update(file.write(chunk))
