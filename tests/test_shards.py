import hashlib
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tasks.data import LabelledData, Split, split_data
from tasks.errors import DataError, ParameterError
from tasks.shards import find, write_held_out
from tests.conftest import LABELS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four tables, a hidden one, a table in a subfolder, and a file of another kind."""
    folder = tmp_path / "shards"
    (folder / "more").mkdir(parents=True)
    for name in (
        "b.csv",
        "a.CSV",
        "c.jsonl",
        "d.parquet",
        ".hidden.csv",
        "notes.txt",
        "more/e.tsv",
    ):
        (folder / name).touch()
    return folder


def names(*inputs: str | Path) -> list[str]:
    return [shard.path.name for shard in find([str(text) for text in inputs])]


# What is found


def test_folder_brings_its_visible_tables_in_order(folder: Path) -> None:
    assert names(folder) == ["a.CSV", "b.csv", "c.jsonl", "d.parquet"]


def test_glob_pattern_brings_what_it_matches(folder: Path) -> None:
    assert names(folder / "*.csv") == ["b.csv"]
    assert names(folder / "[bc].*") == ["b.csv", "c.jsonl"]
    assert names(folder / "**" / "*.tsv") == ["e.tsv"]


def test_files_folders_and_patterns_add_up_and_each_file_counts_once(folder: Path) -> None:
    assert names(folder / "b.csv", folder / "more", folder / "b*", folder / "more/../b.csv") == [
        "b.csv",
        "e.tsv",
    ]


def test_file_whose_name_looks_like_a_pattern_is_that_file(folder: Path) -> None:
    (folder / "[b].csv").touch()
    assert names(folder / "[b].csv") == ["[b].csv"]


def test_relative_paths_and_the_users_home_are_understood(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    assert find(["b.csv"]) == find(["~/b.csv"]) == find([str(folder / "b.csv")])


def test_link_to_a_file_is_that_file(folder: Path) -> None:
    (folder / "link.csv").symlink_to(folder / "b.csv")
    assert names(folder / "link.csv", folder / "b.csv") == ["b.csv"]


# What is refused


@pytest.mark.parametrize("inputs", [[], [""], ["b.csv", ""]])
def test_no_input_is_refused(inputs: list[str]) -> None:
    with pytest.raises(ParameterError, match="inputs: none given; expected files, folders or glob"):
        find(inputs)


@pytest.mark.parametrize("name", ["none.csv", "*.orc", "empty"])
def test_input_without_a_file_is_named(folder: Path, name: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(DataError) as raised:
        find([str(folder / "b.csv"), str(folder / name)])
    assert str(raised.value).startswith(f"inputs: '{folder / name}' brings no file; expected .csv")


@pytest.mark.parametrize("name", ["notes.txt", "n*"])
def test_named_file_of_another_kind_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(
        DataError, match=f"^{folder}/notes.txt: unknown kind of file; expected .csv"
    ):
        find([str(folder / name)])


# Ids


def test_ids_are_stable_and_told_apart_by_the_folder(folder: Path) -> None:
    (folder / "more" / "b.csv").touch()
    first, second = find([str(folder / "b.csv"), str(folder / "more" / "b.csv")])
    assert first.id != second.id
    assert first.id.startswith("b-")
    assert find([str(folder)])[1] == first


def test_id_is_made_of_name_and_path_alone(folder: Path) -> None:
    # Predictions are files of this name: another id would leave two of them beside each other.
    digest = hashlib.sha256(str(folder / "b.csv").encode()).hexdigest()
    assert find([str(folder / "b.csv")])[0].id == f"b-{digest[:8]}"


def test_long_names_leave_room_for_what_is_added(tmp_path: Path) -> None:
    one, other = "这" * 83 + "a.csv", "这" * 83 + "b.csv"
    for name in (one, other):
        assert len(os.fsencode(name)) > 250
        (tmp_path / name).touch()
    ids = [shard.id for shard in find([str(tmp_path)])]
    assert len(set(ids)) == 2
    assert all(len(os.fsencode(f".{name}.parquet.4194304.draft")) < 256 for name in ids)


# The held-out rows


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
