import shutil
from pathlib import Path

import pandas as pd
import pytest

from tasks.common.errors import DataError
from tasks.dataset.held_out import write_held_out
from tasks.dataset.prefect_tasks import split_data
from tasks.dataset.types import LabelledData, Split
from tests.support.tiny_models import LABELS


@pytest.fixture
def split(home: Path, tmp_path: Path) -> Split:
    rows = [(f"film {row} \r with {row % 7} stars", LABELS[row % 2]) for row in range(600)]
    pd.DataFrame(rows, columns=["text", "label"]).to_parquet(tmp_path / "reviews.parquet")
    return split_data.fn((tmp_path / "reviews.parquet",), LabelledData(source="here"))


def test_held_out_files_hold_every_test_row_and_repeat_some(split: Split) -> None:
    folder = write_held_out(split, 4)
    tables = [pd.read_csv(file) for file in sorted(folder.glob("*.csv"))]
    assert len(tables) == 4
    rows = [row for table in tables for row in zip(table["text"], table["label"], strict=True)]
    test = pd.read_parquet(split.part("test"))
    assert set(rows) == set(zip(test["text"], test["label"], strict=True))
    assert len(test) * 1.05 < len(rows) < len(test) * 1.2


def test_held_out_files_are_written_once(split: Split) -> None:
    folder = write_held_out(split, 4)
    written = folder.stat().st_mtime_ns
    assert write_held_out(split, 4) == folder
    assert folder.stat().st_mtime_ns == written
    assert write_held_out(split, 5) != folder
    shutil.rmtree(folder)
    assert write_held_out(split, 4) == folder


def test_more_held_out_files_than_rows_are_refused(split: Split) -> None:
    rows = split.rows["test"]
    with pytest.raises(
        DataError, match=f"held_out_shards: {rows + 1} of {rows} test rows; expected"
    ):
        write_held_out(split, rows + 1)
    assert len(list(write_held_out(split, rows).iterdir())) == rows


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_few_held_out_files_repeat_rows_as_well(split: Split, shards: int) -> None:
    files = list(write_held_out(split, shards).glob("*.csv"))
    assert len(files) == shards
    assert sum(len(pd.read_csv(file)) for file in files) > len(pd.read_parquet(split.part("test")))
