"""Write held-out test rows as files to score, for a first run without own input."""

import csv
from pathlib import Path

import pandas as pd

from tasks.common.errors import DataError
from tasks.common.files import published_folder
from tasks.common.settings import get_settings
from tasks.dataset.types import Split

# Every tenth row comes a second time, as rows do in real input.
_REPEAT_EVERY = 10


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
