"""Types of labelled data: flow parameters, how it is read, and the split on disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from tasks.common.errors import ParameterError
from tasks.common.files import absolute_path
from tasks.common.parameter_types import FrozenModel, about, path_of, source_of
from tasks.common.urls import path_errors, reachable_path, redact_url, resolved_path
from tasks.dataset.labels import label_key

RECORD = "split.json"

SOURCE_EXPECTED = "rotten_tomatoes, imdb, a file, a folder, an http(s) URL, or s3://bucket/key"
_FILES_EXPECTED, _SPLIT_EXPECTED = "files on this machine", "a split's folder"

DataSource = Annotated[
    str,
    source_of("source", SOURCE_EXPECTED),
    about(
        "rotten_tomatoes, imdb, a file, an http(s) URL or s3://bucket/key: CSV, TSV, JSON or "
        "Parquet, plain or with .gz or .zst, or a zip of these. Or a folder: of these, or of "
        "folders that are called like labels and hold .txt files."
    ),
]
Sha256 = Annotated[
    Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")] | None,
    about("Expected SHA-256 of the file at source."),
]
TextColumn = Annotated[
    str | None, about("Column of the texts; found by itself if it is called text or review.")
]
LabelColumn = Annotated[
    str | None, about("Column of the labels; found by itself if it is called label or sentiment.")
]
LabelNames = Annotated[
    Sequence[str],
    about(
        "Labels in the order of their ids; rows may hold the names or the ids. Empty takes "
        "the labels found, sorted: numbers by value, then texts."
    ),
]
ValidationFraction = Annotated[
    float, about("Share of the distinct texts whose loss is watched while training.", gt=0, lt=1)
]
TestFraction = Annotated[
    float, about("Share of the distinct texts that measure the result.", gt=0, lt=1)
]
DataFiles = Annotated[
    Sequence[Annotated[str, path_of("data_files", _FILES_EXPECTED)]],
    about("The tables to start from, without the step download_data."),
]
SplitFolder = Annotated[
    str,
    path_of("split_folder", _SPLIT_EXPECTED),
    about("The split to start from, without the step split_data."),
]
HeldOutShards = Annotated[
    int, about("Files that the held-out rows are written to.", ge=1, le=1_000)
]


def resolve_data_files(data_files: Sequence[str]) -> tuple[Path, ...]:
    """Return the absolute paths of tables.

    Raises:
        ParameterError: If one is an address, or cannot be reached.
    """
    return tuple(
        absolute_path(reachable_path("data_files", file, _FILES_EXPECTED)) for file in data_files
    )


def resolve_split_folder(split_folder: str) -> Path:
    """Return the absolute path of a split's folder.

    Raises:
        ParameterError: If it is an address, or cannot be read.
    """
    return resolved_path("split_folder", split_folder, _SPLIT_EXPECTED)


class LabelledData(FrozenModel):
    """How labelled tables are read and split: parameters of the flow train-classifier."""

    source: str = "rotten_tomatoes"
    text_column: TextColumn = None
    label_column: LabelColumn = None
    label_names: LabelNames = ()
    validation_fraction: ValidationFraction = 0.1
    test_fraction: TestFraction = 0.1

    @field_validator("source")
    @classmethod
    def _without_secrets(cls, source: str) -> str:
        """Drop user, password and query of a URL: the record goes into files and MLflow."""
        return redact_url(source)

    @field_validator("label_names")
    @classmethod
    def _without_blanks(cls, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name.strip() for name in names)

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
        names = {label_key(name) for name in self.label_names}
        if "" in names or len(names) != len(self.label_names) or len(names) == 1:
            raise ParameterError(
                f"label_names: expected two or more different names, got {list(self.label_names)}"
            )
        return self


class RowReport(FrozenModel):
    """What became of the rows of labelled tables.

    Attributes:
        read: All rows of the tables; blank lines are none.
        kept: Those that are split.
        set_aside: Those that are not, by reason.
        repeated: Kept rows that have text and label of an earlier one.
        contradicting: Kept rows whose text has another label elsewhere.
        warnings: Lines on rows that look wrong and are kept all the same.
    """

    read: int
    kept: int
    set_aside: dict[str, int]
    repeated: int = 0
    contradicting: int = 0
    warnings: tuple[str, ...] = ()


class Split(FrozenModel):
    """A split on disk: `train`, `validation` and `test.parquet` beside this record.

    Attributes:
        folder: Where the files are.
        source: Name, path or URL that the data came from.
        digest: SHA-256 of all labelled rows, before the split.
        labels: Labels in the order of their ids.
        rows: Number of rows of each part.
        distributions: Label, language and length distributions of all rows.
        report: What became of the rows that were read; none in splits of before.
        unlabelled: Texts without a label, in `unlabelled.parquet` if there are any.
    """

    folder: Path
    source: str
    digest: str
    labels: tuple[str, ...]
    rows: dict[str, int]
    distributions: dict[str, Any]
    report: RowReport | None = None
    unlabelled: int = 0

    def part(self, name: str) -> Path:
        """Return the Parquet file of the part `name`."""
        return self.folder / f"{name}.parquet"

    @property
    def row_counts(self) -> dict[str, Any]:
        """What became of the rows, as the summary of a training has it."""
        if self.report is None:
            return {}
        counts = self.report.model_dump(exclude={"set_aside", "warnings"})
        return {f"rows_{name}": count for name, count in counts.items()} | {
            "rows_set_aside": self.report.set_aside,
            "row_warnings": list(self.report.warnings),
            **({"rows_unlabelled": self.unlabelled} if self.unlabelled else {}),
        }

    @classmethod
    def read(cls, folder: Path) -> "Split":
        """Read the record that `split_data` left in `folder`.

        Raises:
            ParameterError: If there is none, or it may not be read.
        """
        record = folder / RECORD
        with path_errors("split_folder", str(folder), _SPLIT_EXPECTED):
            if not record.is_file():
                raise ParameterError(
                    f"split_folder: {folder} has no {RECORD}; expected {_SPLIT_EXPECTED}"
                )
            return cls.model_validate_json(record.read_text(encoding="utf-8"))
