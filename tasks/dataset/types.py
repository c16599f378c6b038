"""Records of the labelled data: how it is read, and the split on disk."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tasks.common.errors import ParameterError
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
