"""The files to score: found, named, and made of held-out rows for a first try."""

import glob
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from tasks.data import Split
from tasks.errors import DataError
from tasks.files import published_folder
from tasks.scoring import Shard
from tasks.settings import get_settings

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")

# Every tenth row comes a second time, as rows do in real input.
_REPEAT_EVERY = 10


def find(inputs: Sequence[str]) -> tuple[Shard, ...]:
    """Return a shard for each file, sorted by path.

    Args:
        inputs: Files, folders (their files, not those of subfolders) and glob patterns.

    Raises:
        DataError: If an input brings no file, or a file of another kind is named.
    """
    paths = {path.resolve() for text in inputs for path in _files_of(text)}
    return tuple(Shard(id=_shard_id(path), path=path) for path in sorted(paths))


def write_held_out(split: Split, shards: int) -> Path:
    """Write the test rows as `shards` CSV files; some rows come again in the next file.

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
            repeated = pieces[number - 1].iloc[::_REPEAT_EVERY]
            table = pd.concat([piece, repeated])
            table.to_csv(draft / f"part-{number + 1:02}.csv", index=False)
    return folder


def _files_of(text: str) -> Iterator[Path]:
    path = Path(text).expanduser()
    if path.is_dir():
        found = [file for file in path.iterdir() if file.suffix.lower() in SUFFIXES]
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
    # Files of one name in two folders are two shards.
    return f"{path.stem}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
