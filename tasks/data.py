"""Data for training: download and split, as Prefect tasks."""

import hashlib
from pathlib import Path
from typing import Annotated, Any

from prefect import task
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tasks.common.errors import ParameterError
from tasks.common.settings import get_settings
from tasks.common.task_errors import RETRY_DOWNLOAD, RETRY_ONCE, redacted_errors
from tasks.common.urls import public

RECORD = "split.json"

Fraction = Annotated[float, Field(gt=0, lt=1)]


class LabelledData(BaseModel):
    """How labelled tables are read and split.

    Attributes:
        source: Name, path or URL that the data came from.
        text_column: Column of the texts; `None` takes `text` or `review`.
        label_column: Column of the labels; `None` takes `label` or `sentiment`.
        label_names: Labels in the order of their ids; empty takes those found, sorted.
        validation_fraction: Share of the distinct texts that choose between checkpoints.
        test_fraction: Share of the distinct texts that measure the result.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    text_column: str | None = None
    label_column: str | None = None
    label_names: tuple[str, ...] = ()
    validation_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.1

    @field_validator("source")
    @classmethod
    def _without_secrets(cls, source: str) -> str:
        """Drop user, password and query of a URL: the record goes into files and MLflow."""
        return public(source)

    @model_validator(mode="after")
    def _leaves_rows_to_train_on(self) -> "LabelledData":
        if self.validation_fraction + self.test_fraction >= 1:
            raise ParameterError(
                f"validation_fraction and test_fraction: expected a sum below 1, "
                f"got {self.validation_fraction} + {self.test_fraction}"
            )
        if self.text_column is not None and self.text_column == self.label_column:
            raise ParameterError(
                f"label_column: {self.label_column!r} is text_column as well; expected another"
            )
        if len(set(self.label_names)) != len(self.label_names) or len(self.label_names) == 1:
            raise ParameterError(
                f"label_names: expected two or more different names, got {list(self.label_names)}"
            )
        return self


class Split(BaseModel):
    """A split on disk: `train`, `validation` and `test.parquet` beside this record.

    Attributes:
        folder: Where the files are.
        source: Name, path or URL that the data came from.
        digest: SHA-256 of all labelled rows, before the split.
        labels: Labels in the order of their ids.
        rows: Number of rows of each part.
        distributions: Label, language and length distributions of all rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    source: str
    digest: str
    labels: tuple[str, ...]
    rows: dict[str, int]
    distributions: dict[str, Any]

    def part(self, name: str) -> Path:
        """Return the Parquet file of the part `name`."""
        return self.folder / f"{name}.parquet"

    @classmethod
    def read(cls, folder: Path) -> "Split":
        """Read the record that `split_data` left in `folder`.

        Raises:
            ParameterError: If there is none.
        """
        record = folder / RECORD
        if not record.is_file():
            raise ParameterError(
                f"split_folder: {folder} has no {RECORD}; expected a split's folder"
            )
        return cls.model_validate_json(record.read_text(encoding="utf-8"))


@task(
    name="download data",
    **RETRY_DOWNLOAD,
    persist_result=False,  # the files are the result; `obtain` sees by itself that they are there
)
def download_data(source: str, sha256: str | None = None) -> tuple[Path, ...]:
    """Bring the source's tables to this machine; see `tasks.sources.obtain`."""
    from tasks.sources import obtain

    return obtain(source, sha256)


@task(name="read split", **RETRY_ONCE)
def read_split(folder: str) -> Split:
    """Return the split that `split_data` left in `folder`."""
    return Split.read(Path(folder).expanduser().resolve())


@task(name="split data", **RETRY_ONCE)
def split_data(files: tuple[Path, ...], data: LabelledData) -> Split:
    """Check the labelled rows and split them, or reuse the split of equal rows."""
    from tasks import labelled, splitting
    from tasks.common.files import published_file

    with redacted_errors("rows"):
        rows = labelled.read_labelled(
            files,
            text_column=data.text_column,
            label_column=data.label_column,
            label_names=data.label_names,
        )
    labels = labelled.labels_in_order(rows, data.label_names)
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
