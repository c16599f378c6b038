"""The files to score: found, named, and made of held-out rows for a first try."""

import csv
import glob
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from tasks.data import Split
from tasks.errors import DataError, ParameterError
from tasks.files import published_folder
from tasks.scoring import Shard
from tasks.settings import get_settings
from tasks.tables import SUFFIXES

# Every tenth row comes a second time, as rows do in real input.
_REPEAT_EVERY = 10

_ID_CHARACTERS = 50  # of a file's name; each may take 4 bytes


def find(inputs: Sequence[str]) -> tuple[Shard, ...]:
    """Return a shard for each file, sorted by path.

    Args:
        inputs: Files, folders (their tables, but neither those of subfolders nor hidden ones)
            and glob patterns.

    Raises:
        ParameterError: If there is no input, or an empty one.
        DataError: If an input brings no file, or a file of another kind is named.
    """
    if not inputs or "" in inputs:
        raise ParameterError("inputs: none given; expected files, folders or glob patterns")
    paths = {path.resolve() for text in inputs for path in _files_of(text)}
    return tuple(Shard(id=_shard_id(path), path=path) for path in sorted(paths))


def write_held_out(split: Split, shards: int) -> Path:
    """Write the test rows as `shards` CSV files; some rows come again in a later file.

    Returns:
        The folder of the files; an earlier one of the same split is reused.

    Raises:
        DataError: If there are fewer rows than shards.
    """
    folder = get_settings().data / "held-out" / f"{split.folder.name}-{shards}"
    if folder.is_dir():
        return folder
    rows = pd.read_parquet(split.part("test"))
    if len(rows) < shards:
        raise DataError(f"held_out_shards: {shards} of {len(rows)} test rows; expected fewer")
    pieces = [rows.iloc[start::shards] for start in range(shards)]
    with published_folder(folder) as draft:
        for number, piece in enumerate(pieces):
            # Not of the file before: two are scored at the same time.
            repeated = pieces[(number - 2) % shards].iloc[::_REPEAT_EVERY]
            table = pd.concat([piece, repeated])
            # Without quotes a lone carriage return would end the row.
            name = f"part-{number + 1:02}.csv"
            table.to_csv(draft / name, index=False, quoting=csv.QUOTE_ALL)
    return folder


def _files_of(text: str) -> Iterator[Path]:
    path = Path(text).expanduser()
    if path.is_dir():
        # Hidden files, as macOS and editors leave them, are left out, as glob patterns do.
        visible = [file for file in path.iterdir() if not file.name.startswith(".")]
        found = [file for file in visible if file.is_file() and file.suffix.lower() in SUFFIXES]
    elif path.is_file():
        found = [path]
    else:
        found = [Path(name) for name in glob.glob(str(path), recursive=True)]  # noqa: PTH207
        found = [file for file in found if file.is_file()]
    for file in found:
        if file.suffix.lower() not in SUFFIXES:
            raise DataError(f"{file}: unknown kind of file; expected {', '.join(SUFFIXES)}")
    if not found:
        raise DataError(f"inputs: {text!r} brings no file; expected {', '.join(SUFFIXES)}")
    yield from found


def _shard_id(path: Path) -> str:
    # Files of one name in two folders are two shards. File names end at 255 bytes.
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
    return f"{path.stem[:_ID_CHARACTERS]}-{digest}"
