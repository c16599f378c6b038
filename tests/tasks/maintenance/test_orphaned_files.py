"""Checkpoints and downloads that nobody needs are freed, and what is held or whole stays."""

import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from flows.clean_up import clean_up
from tasks.common.files import unique_name
from tasks.maintenance import orphaned_files
from tasks.maintenance.disk_usage import is_locked
from tasks.maintenance.types import Limits
from tests.tasks.maintenance.steps import (
    Killed,
    clean,
    content,
    faulty,
    make_checkpoints,
    make_old,
    names,
)


def test_interrupted_freeing_of_checkpoints_leaves_no_half_and_is_finished(home: Path) -> None:
    folder = make_checkpoints(home, "abc")

    def half(path: Path) -> None:
        (path / "checkpoint-5" / "model.safetensors").unlink()
        raise Killed

    with faulty(shutil, "rmtree", half), pytest.raises(Killed):
        orphaned_files.clean_checkpoints(Limits(apply=True))
    assert not folder.exists()
    (home / "checkpoints" / ".abc.freed").touch()  # its age says nothing
    make_checkpoints(home, "abc")  # trained again meanwhile
    assert clean("checkpoints")["checkpoints"]["items"] == 2
    assert [path.name for path in (home / "checkpoints").iterdir()] == ["abc.lock"]


def test_broken_downloads_are_freed_and_whole_ones_stay(home: Path) -> None:
    data = home / "data"
    gone = [
        "downloads/0123456789abcdef/a.zip.part",
        "downloads/scoring/0123456789abcdef-4194305/a.csv",  # above the largest process number
        "unpacked/.0123.unpacking/a.csv",
        "splits/.0123.4194305.draft/train.parquet",
        ".imdb.csv.4194305-0a1b2c3d.draft",
    ]
    stay = [
        "downloads/0123456789abcdef/b.zip",
        "downloads/fedcba9876543210/c.zip.part",  # held
        f"downloads/scoring/0123456789abcdef-{unique_name()}/a.csv",
        f"splits/.0123.{unique_name()}.draft/train.parquet",
        "unpacked/0123/a.csv",
        "splits/0123/split.json",
        "imdb.csv",
    ]
    for name in [*gone, *stay, "downloads/0123456789abcdef/a.zip.part.json"]:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text("content")
    lock = data / "downloads/fedcba9876543210/c.zip.lock"
    with FileLock(lock):
        assert clean("downloads")["downloads"]["items"] == 0
        make_old(data)
        before = content(home)
        told = clean("downloads", apply=False)
        assert content(home) == before
        done = clean("downloads")
    assert names(told) == names(done)
    assert done["downloads"] == {"items": 5, "bytes": 6 * len("content")}
    left = {str(p.relative_to(data)) for p in data.rglob("*") if p.is_file()}
    assert {name for name in left if not name.endswith(".lock")} == set(stay)


def test_asking_whether_a_lock_is_held_changes_nothing(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    assert not is_locked(lock)
    assert not lock.exists()
    with FileLock(lock):
        assert is_locked(lock)
    assert not is_locked(lock)


@pytest.mark.usefixtures("prefect_harness")
def test_nothing_at_all_is_nothing_to_free(home: Path) -> None:
    report = clean_up(apply=True, keep_versions=0, older_than_days=0)
    assert report["leftovers"] == []
    assert all(report[kind]["items"] == 0 for kind in ("outputs", "versions", "checkpoints"))
