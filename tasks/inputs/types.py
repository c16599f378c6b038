"""Types of input files: the flow parameter, a file, and what a survey found of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import SecretStr

from tasks.common.parameter_types import FrozenModel, about, source_of
from tasks.ingestion.formats import Survey

INPUTS_EXPECTED = "a file, folder or pattern on this machine or on S3, or an http(s) URL"
InputSource = Annotated[str, source_of("inputs", INPUTS_EXPECTED)]
Inputs = Annotated[
    Sequence[InputSource],
    about(
        "Files, folders or glob patterns, on this machine or as s3://bucket/…, or http(s) URLs, of "
        "CSV, TSV, JSON or Parquet files, plain or with .gz or .zst."
    ),
]


class InputFile(FrozenModel):
    """A file to score.

    Attributes:
        id: Made from its name and place, so that it is stable and unique.
        path: Where it is on this machine, or will be once it is downloaded.
        name: What is shown of it: its path, or its URL without secrets.
        url: Where it is downloaded from, if it is: an http(s) URL or an address on S3.
        error: Why it cannot be opened by its name, or an empty string.
    """

    id: str
    path: Path
    name: str
    url: SecretStr | None = None
    error: str = ""


class FoundInputs(FrozenModel):
    """What there is to score.

    Attributes:
        files: The files, sorted by place, and after them the downloaded ones.
        settling: Names of files that changed a moment ago and are left for the next run.
        removed: Names of files that are in the output and are gone since.
    """

    files: tuple[InputFile, ...]
    settling: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class Surveyed(FrozenModel):
    """A file after its survey.

    Attributes:
        file: The file.
        survey: Digest, rows and columns; none if it failed.
        error: Why it cannot be read at all, or an empty string.
    """

    file: InputFile
    survey: Survey | None = None
    error: str = ""
