"""Files of feedback: found, and read whole, since a batch of labels is small."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tasks.common.errors import DataError, ParameterError
from tasks.common.files import absolute_path, sha256_of
from tasks.common.urls import path_errors, reachable_path
from tasks.feedback.feedback_rows import FeedbackSource, SourceRow, find_columns
from tasks.feedback.types import FEEDBACK_EXPECTED
from tasks.ingestion.formats import EXPECTED
from tasks.ingestion.table_reader import read_columns


def find_feedback_files(places: Sequence[str]) -> list[Path]:
    """Return the files that `places` mean, sorted, each once; of folders those that are not hidden.

    Raises:
        ParameterError: If a place is neither a file nor a folder, or cannot be read.
    """
    found: set[Path] = set()
    for place in places:
        path = reachable_path("feedback", place, FEEDBACK_EXPECTED)
        with path_errors("feedback", place, FEEDBACK_EXPECTED):
            if path.is_dir():
                visible = (file for file in path.iterdir() if not file.name.startswith("."))
                found |= {absolute_path(file) for file in visible if not file.is_dir()}
            elif path.exists():
                found.add(absolute_path(path))
            else:
                raise ParameterError(f"feedback: {path} is missing; expected {FEEDBACK_EXPECTED}")
    return sorted(found)


def digest_feedback_file(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        OSError: If it cannot be opened or read.
        DataError: If it is none, as a pipe, which would be waited for.
    """
    if not path.is_file():
        raise DataError(f"{path}: no regular file; expected {EXPECTED}")
    return sha256_of(path)


def read_feedback_file(path: Path, sha256: str) -> FeedbackSource:
    """Return the rows of a file.

    Args:
        path: The file.
        sha256: Its digest, as it was found.

    Raises:
        OSError: If it cannot be opened or read.
        DataError: If it is no table, lacks a column, or is written meanwhile.
    """
    columns: dict[str, str] = {}

    def choose(names: Sequence[str]) -> list[str]:
        columns.update(find_columns(str(path), names))
        return list(columns.values())

    modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    rows = [
        SourceRow(
            row.number,
            dict(zip(columns, row.values, strict=True)) if row.reason is None else {},
            row.raw or b"",
            row.reason or "",
        )
        for row in read_columns(path, choose)
    ]
    if sha256_of(path) != sha256:
        raise DataError(f"{path}: changed while it was read; expected a file that is complete")
    return FeedbackSource(str(path), sha256, modified, rows)
