"""Prefect tasks that download and split labelled data, and write held-out rows."""

from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task

from tasks.common.task_errors import (
    RETRY_ONCE,
    redacted_errors,
)
from tasks.dataset.types import Split

if TYPE_CHECKING:
    pass

import hashlib

from tasks.common.settings import get_settings
from tasks.common.task_errors import RETRY_DOWNLOAD
from tasks.dataset.types import RECORD, LabelledData


@task(
    name="download data",
    **RETRY_DOWNLOAD,
    persist_result=False,  # the files are the result; `obtain` sees by itself that they are there
)
def download_data(source: str, sha256: str | None = None) -> tuple[Path, ...]:
    """Bring the source's tables to this machine; see `tasks.dataset.sources.obtain`."""
    from tasks.dataset.sources import obtain

    return obtain(source, sha256)


@task(name="read split", **RETRY_ONCE)
def read_split(folder: str) -> Split:
    """Return the split that `split_data` left in `folder`."""
    return Split.read(Path(folder).expanduser().resolve())


@task(name="split data", **RETRY_ONCE)
def split_data(files: tuple[Path, ...], data: LabelledData) -> Split:
    """Check the labelled rows and split them, or reuse the split of equal rows."""
    from tasks.common.files import published_file
    from tasks.dataset import labelled_rows, splitting

    with redacted_errors("rows"):
        rows = labelled_rows.read_labelled(
            files,
            text_column=data.text_column,
            label_column=data.label_column,
            label_names=data.label_names,
        )
    labels = labelled_rows.labels_in_order(rows, data.label_names)
    digest = splitting.digest_rows(rows)
    folder = _split_folder(digest, labels, data)
    if (folder / RECORD).is_file():
        return Split.read(folder).model_copy(update={"source": data.source})
    counts = splitting.write_split(
        rows,
        folder,
        validation_fraction=data.validation_fraction,
        test_fraction=data.test_fraction,
    )
    split = Split(
        folder=folder,
        source=data.source,
        digest=digest,
        labels=labels,
        rows=counts,
        distributions=splitting.describe(rows),
    )
    with published_file(folder / RECORD) as draft:
        draft.write_text(split.model_dump_json(indent=2), encoding="utf-8")
    return split


def _split_folder(digest: str, labels: tuple[str, ...], data: LabelledData) -> Path:
    choices = (digest, labels, data.validation_fraction, data.test_fraction)
    key = hashlib.sha256(repr(choices).encode()).hexdigest()[:16]
    return get_settings().data / "splits" / key


@task(name="write held-out rows", **RETRY_ONCE)
def write_held_out_rows(split: Split, shards: int) -> str:
    """Write the split's test rows as files to score and return their folder."""
    from tasks.dataset.held_out import write_held_out

    return str(write_held_out(split, shards))
