"""The body of a response: appended to a file, within the limit of downloads and the free disk."""

import errno
import os
from pathlib import Path

from tqdm import tqdm

from tasks.common.errors import DownloadError, TransientDownloadError
from tasks.common.settings import get_settings
from tasks.common.text import printable
from tasks.download.partial_download import PartialFile
from tasks.download.responses import Response
from tasks.ingestion.disk_budget import DiskBudget


def budget_of(folder: Path, written: int = 0) -> DiskBudget:
    """Return how many bytes a download may write to a folder.

    Args:
        folder: An existing folder.
        written: Bytes that an earlier attempt wrote.
    """
    limit = get_settings().download_limit
    return DiskBudget(folder, limit, "MILLSTREAM_DOWNLOAD_LIMIT", written)


def receive(response: Response, part: PartialFile, size: int | None) -> None:
    """Append the body to what was received before.

    Args:
        response: The response, whose body continues the part.
        part: What was received before.
        size: Bytes of the complete file, if known.

    Raises:
        TransientDownloadError: The body ended early.
        DownloadError: It is larger than the limit or the free disk; the part is removed.
        OSError: The part cannot be written; it is removed if the disk is full.
    """
    try:
        _append_body(response, part, size)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            part.discard()  # so that the disk is not left full
        raise
    # httpx compares the body with Content-Length only; a server may send less than requested.
    if size is not None and part.size != size:
        raise TransientDownloadError(f"{response.url}: {part.size} bytes, expected {size}")


def _append_body(response: Response, part: PartialFile, size: int | None) -> None:
    budget = budget_of(part.path.parent, written=part.size)
    _check_budget(response, part, budget, max(0, (size or 0) - part.size))
    with (
        part.path.open("ab") as file,
        tqdm(
            desc=f"download {printable(part.path.stem)}",
            initial=part.size,
            total=size,
            unit="B",
            unit_scale=True,
            disable=None,  # shown on a terminal only
        ) as bar,
    ):
        for chunk in response.chunks:
            _check_budget(response, part, budget, len(chunk))
            budget.count(len(chunk))
            bar.update(file.write(chunk))
        file.flush()
        os.fsync(file.fileno())


def _check_budget(response: Response, part: PartialFile, budget: DiskBudget, more: int) -> None:
    if fault := budget.fault(more):
        part.discard()
        raise DownloadError(f"{response.url}: {fault}")
