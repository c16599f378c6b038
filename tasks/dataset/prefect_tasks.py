"""Prefect tasks that download and split labelled data, and write held-out rows."""

from pathlib import Path

from prefect import task

from tasks.common.task_errors import RETRY_DOWNLOAD, RETRY_ONCE
from tasks.dataset.types import LabelledData, Split, resolve_split_folder
from tasks.ingestion.text_format import AS_FOUND, ReadOptions


@task(
    name="download data",
    **RETRY_DOWNLOAD,
    persist_result=False,  # the files are the result, and found again by the worker
)
def download_data(
    source: str, sha256: str | None = None, encoding: str | None = None
) -> tuple[Path, ...]:
    """Bring the source's tables to this machine; see `tasks.dataset.sources.fetch_tables`."""
    from tasks.dataset.sources import fetch_tables

    return fetch_tables(source, sha256, encoding)


@task(name="read split", **RETRY_ONCE)
def read_split(folder: str) -> Split:
    """Return the split that `split_data` left in `folder`."""
    return Split.read(resolve_split_folder(folder))


@task(name="split data", **RETRY_ONCE)
def split_data(
    files: tuple[Path, ...],
    data: LabelledData,
    options: ReadOptions = AS_FOUND,
    *,
    keep_unlabelled: bool = False,
) -> Split:
    """Check the labelled rows and split them, or reuse the split of equal rows."""
    from tasks.dataset.splitting import split_files

    return split_files(files, data, options, keep_unlabelled=keep_unlabelled)


@task(name="write held-out rows", **RETRY_ONCE)
def write_held_out_rows(split: Split, shards: int) -> str:
    """Write the split's test rows as files to score and return their folder."""
    from tasks.dataset.held_out import write_held_out

    return str(write_held_out(split, shards))
