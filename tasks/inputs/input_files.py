"""Input files to score: list them by path, folder, glob or URL, download them, give them ids."""

import glob
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from pydantic import SecretStr

from tasks.common.errors import DataError, ParameterError
from tasks.common.files import absolute_path, unique_name
from tasks.common.parameter_types import check_source
from tasks.common.settings import get_settings
from tasks.common.urls import (
    is_remote,
    path_errors,
    reachable_path,
    redact_url,
    url_file_name,
)
from tasks.download.file_download import download_file
from tasks.ingestion.formats import EXPECTED, format_of, stem_of, unknown_kind
from tasks.ingestion.text_format import is_one_object
from tasks.inputs.addresses import expand_address
from tasks.inputs.types import INPUTS_EXPECTED, InputFile
from tasks.output.file_ids import FileIds
from tasks.output.records import SUFFIXES

logger = logging.getLogger(__name__)

_THIS_PROCESS = unique_name()  # of the folder of its downloads


def check_inputs(inputs: Sequence[str]) -> None:
    """Check that there is an input, and that each is a path, an http(s) URL or on S3.

    Raises:
        ParameterError: If there is none, an empty one, or an address of another kind.
    """
    if not inputs or "" in inputs:
        raise ParameterError("inputs: none given; expected files, folders, glob patterns or URLs")
    for text in inputs:
        check_source("inputs", text, INPUTS_EXPECTED)


def list_input_files(
    inputs: Sequence[str], output_dir: Path, *, allow_empty: bool = False
) -> tuple[InputFile, ...]:
    """Return the files that `inputs` mean, sorted by place, and after them the downloaded ones.

    Args:
        inputs: Files, folders (their tables, but neither those of subfolders nor hidden ones, nor
            a .json of one object over several lines, which describes data), glob patterns and
            http(s) URLs. A link is a file of its own name, unless its target is among them; what
            `output_dir` holds is none of a folder or pattern. On S3, a folder ends with a slash,
            and each .json of it is a table, since nothing is read before the download.
        output_dir: The output; files go on with the ids that they have there.
        allow_empty: Whether a folder without a table, or a pattern without a match, is no error.

    Raises:
        ParameterError: If there is no input, an empty one, or an address of another kind.
        DataError: If an input brings no file, or a file of another kind is named.
        DownloadError: If a folder or pattern on S3 cannot be listed.
    """
    check_inputs(inputs)
    remote = [text for text in inputs if is_remote(text)]
    urls = sorted({url for text in remote for url in expand_address(text, allow_empty)})
    places = [text for text in inputs if not is_remote(text)]
    found = (path for text in places for path in _expand_input(text, output_dir, allow_empty))
    paths = _without_links_to_others({absolute_path(path) for path in found})
    ids = FileIds(output_dir)
    return (
        *(_local_file(path, ids) for path in paths),
        *(_remote_file(url, output_dir, ids) for url in urls),
    )


def is_gone(source: str) -> bool:
    """Return whether a file that was read once is no longer there; no download is looked for.

    One that cannot be looked for, as on a server that does not answer, counts as there.
    """
    try:
        return not is_remote(source) and not Path(source).exists()
    except OSError:
        return False


def download_input(file: InputFile) -> None:
    """Bring a file that has an address to this machine; what broke before goes on.

    Raises:
        DownloadError: If the transfer failed.
    """
    if file.url is not None:
        download_file(file.url.get_secret_value(), file.path)


@contextmanager
def named_by_source(file: InputFile) -> Iterator[None]:
    """Let an error in the block name a downloaded file by its URL, not by its temporary path.

    Raises:
        DataError: If the block does.
    """
    try:
        yield
    except DataError as error:
        if file.url is None:
            raise
        raise DataError(str(error).replace(str(file.path), file.name)) from error


@contextmanager
def temporary_downloads(output_dir: Path) -> Iterator[None]:
    """Remove at the end of the block what this process downloaded for an output folder."""
    try:
        yield
    finally:
        shutil.rmtree(_download_folder(output_dir), ignore_errors=True)


def _download_folder(output_dir: Path) -> Path:
    key = hashlib.sha256(os.fsencode(output_dir)).hexdigest()[:16]
    return get_settings().data / "downloads" / "scoring" / f"{key}-{_THIS_PROCESS}"


def settled_files(files: Sequence[InputFile], seconds: int) -> tuple[InputFile, ...]:
    """Return the files that nobody is writing: those that did not change for so many seconds.

    Downloads count as settled, and so do files that are missing by now: reading one is an error.
    """
    latest = time.time() - seconds
    return tuple(
        file for file in files if not seconds or file.url or _modified_time(file.path) <= latest
    )


def _modified_time(path: Path) -> float:
    try:
        status = path.stat()
    except OSError:  # removed meanwhile, or a link that leads nowhere; reading it is an error
        return 0
    # A time to come was set by a program, or copied. The system sets the other one.
    return status.st_mtime if status.st_mtime <= time.time() else status.st_ctime


def _without_links_to_others(paths: set[Path]) -> list[Path]:
    """Return the paths, sorted, without links to a file that is among them."""
    return sorted(
        path for path in paths if not path.is_symlink() or _real(path) not in paths - {path}
    )


def _expand_input(text: str, output_dir: Path, allow_empty: bool) -> Iterator[Path]:
    path = reachable_path("inputs", text, INPUTS_EXPECTED)
    may_be_empty = allow_empty and (path.is_dir() or glob.has_magic(text))
    if path.is_dir():
        with path_errors("inputs", text, INPUTS_EXPECTED):
            # Hidden files, as macOS and editors leave them, are left out, as glob patterns do.
            visible = [file for file in path.iterdir() if not file.name.startswith(".")]
            # A link that leads nowhere is a file that is missing.
            tables = [file for file in visible if not file.is_dir() and format_of(file.name)]
            found = [file for file in tables if not is_one_object(file)]
        if left := len(tables) - len(found):
            shown = redact_url(text)
            logger.info("inputs: %s: left out %d .json files of one object each", shown, left)
    elif path.is_file():
        found = [path]
    else:
        found = [Path(name) for name in glob.glob(str(path), recursive=True)]  # noqa: PTH207
        found = [file for file in found if file.is_file()]
    if not path.is_file():
        found = _without_output(text, found, output_dir)
    for file in found:
        if format_of(file.name) is None:
            raise DataError(f"{_shown(file)}: {unknown_kind(_shown(file))}")
    if not found and not may_be_empty:
        is_missing = not path.exists() and not glob.has_magic(text)
        why = ": there is no such file or folder" if is_missing else ""
        raise DataError(
            f"inputs: {redact_url(text)!r} brings no file{why}; "
            f"expected {EXPECTED}{_texts_hint(path)}"
        )
    yield from found


def _texts_hint(path: Path) -> str:
    """Return what to do with .txt files, of which a folder has no number that a row could keep."""
    texts = chain(path.glob("*.txt"), path.glob("*/*.txt"))
    return "; write its .txt files into one table, a text a row" if any(texts) else ""


def _without_output(text: str, found: Sequence[Path], output_dir: Path) -> list[Path]:
    """Leave out what runs wrote to the output folder, which may be among the inputs."""
    own = {output_dir / name for name in (*SUFFIXES, "records", "manifest.json")}
    others = [file for file in found if own.isdisjoint([_real(file), *_real(file).parents])]
    if len(others) < len(found):
        left = len(found) - len(others)
        logger.info("inputs: %s: left out %d files of output_dir", redact_url(text), left)
    return others


def _local_file(path: Path, ids: FileIds) -> InputFile:
    # Shards of before links kept their names go on as those of the target.
    if path.is_symlink() and ids.has(str(target := _real(path)), stem_of(target.name)):
        path = target
    name = _shown(path)
    file_id = ids.id_of(str(path), stem_of(Path(name).name), name)
    if name == str(path):
        return InputFile(id=file_id, path=path, name=name)
    # Such a path cannot pass to a task, nor be written into a manifest.
    error = f"{name}: the file's name is not UTF-8; expected a name in UTF-8"
    return InputFile(id=file_id.replace("\\", "_"), path=Path(name), name=name, error=error)


def _real(path: Path) -> Path:
    # `Path.resolve` raises RuntimeError for links in a circle, which are a file that is missing.
    return Path(os.path.realpath(path))


def _shown(path: Path) -> str:
    """Return a path in which bytes that are not UTF-8 are escaped."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _remote_file(url: str, output_dir: Path, ids: FileIds) -> InputFile:
    name = url_file_name(url)
    path = _download_folder(output_dir) / hashlib.sha256(url.encode()).hexdigest()[:16] / name
    # What the address held the last time may not be what it holds now.
    path.unlink(missing_ok=True)
    source = redact_url(url)
    file_id = ids.id_of(url, stem_of(name), source)
    return InputFile(id=file_id, path=path, name=source, url=SecretStr(url))
