"""Folders of texts, each in a .txt file in a folder called like its label, as one table."""

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

from tasks.common.cancellation import raise_if_stopped
from tasks.common.errors import DataError
from tasks.common.files import published_file
from tasks.common.settings import get_settings
from tasks.ingestion.formats import MAX_CELL
from tasks.ingestion.likely_causes import describe_refused_row
from tasks.ingestion.text_format import decode_text

logger = logging.getLogger(__name__)

# What data sets call the folder of their texts without a label.
_UNLABELLED = {"unsup", "unlabeled", "unlabelled"}


def write_text_table(folder: Path, files: Iterable[Path], encoding: str | None) -> Path | None:
    """Write the texts below a folder as a table of `text`, `label` and `file`, sorted by file.

    A label is the name of a folder that has texts and no folder of texts below it. Texts beside
    such folders, and those of a folder called unsup or unlabelled, are left out and counted in the
    log.

    Args:
        folder: Where the labels' folders are, at any depth.
        files: The .txt files below it.
        encoding: That of files without a byte order mark; `None` is UTF-8.

    Returns:
        The table; an earlier one of the same files is reused. None if there are no two labels.

    Raises:
        DataError: If a file is empty, longer than `MAX_CELL` bytes, or no text in the encoding.
        OSError: If one cannot be read.
    """
    texts = sorted(files)
    labelled = _with_label(folder, texts)
    if len({text.parent.name for text in labelled}) < 2:
        return None
    if left := len(texts) - len(labelled):
        logger.warning("%s: left out %d .txt files that have no label", folder, left)
    target = get_settings().data / "unpacked" / f"{_digest_of(folder, labelled, encoding)}.jsonl"
    if target.is_file():
        return target
    # With a mark, so that the option for the encoding of the texts is not taken for the table's.
    with published_file(target) as draft, draft.open("w", encoding="utf-8-sig") as table:
        _write_rows(table, folder, labelled, encoding)
    return target


def _with_label(folder: Path, texts: Sequence[Path]) -> list[Path]:
    places = {text.parent for text in texts}
    above = {folder}.union(*(place.parents for place in places))
    return [
        text
        for text in texts
        if text.parent not in above and text.parent.name.casefold() not in _UNLABELLED
    ]


def _digest_of(folder: Path, texts: Sequence[Path], encoding: str | None) -> str:
    """Return a digest of the names, sizes and times of files, from which their table is named."""
    digest = hashlib.sha256(f"{folder}\0{encoding or ''}".encode(errors="surrogateescape"))
    for text in texts:
        status = text.stat()
        facts = f"\0{text.relative_to(folder)}\0{status.st_size}\0{status.st_mtime_ns}"
        digest.update(facts.encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def _write_rows(table: TextIO, folder: Path, texts: Sequence[Path], encoding: str | None) -> None:
    for path in texts:
        raise_if_stopped()
        if path.stat().st_size > MAX_CELL:
            raise DataError(f"{path}: longer than {MAX_CELL} bytes; expected a shorter text")
        content = path.read_bytes()
        text, reason = decode_text(content, encoding)
        if reason:
            raise DataError(f"{path}: {describe_refused_row(content, reason)}")
        if not text.strip():
            raise DataError(f"{path}: empty; expected a text with words")
        row = {"text": text, "label": path.parent.name, "file": str(path.relative_to(folder))}
        table.write(json.dumps(row) + "\n")
