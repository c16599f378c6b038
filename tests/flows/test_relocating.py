"""A state folder that is moved or copied, and commands in it."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from deployments.up import up
from deployments.user_interface import serve_user_interface
from flows.relocate import relocate
from flows.score_shards import score_shards
from tasks.common.errors import DataError, ParameterError
from tasks.common.files import sha256_of
from tasks.common.settings import REPOSITORY, get_settings
from tasks.maintenance.relocation import relocate as relocate_folder
from tasks.tracking.mlflow_client import connect, ensure_experiment
from tasks.tracking.pipeline_loader import load_pipeline
from tests.support.builders import Trained, build_unverified, train_unevaluated, use_home
from tests.support.operation import rows_in


@pytest.fixture
def original(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder with a pipeline; its name is written in different ways in URIs and JSON."""
    home = Path(shutil.copytree(trained.home, tmp_path / 'the "original"; 100% größer #1'))
    use_home(home, monkeypatch)
    relocate_folder(get_settings(), trained.home)
    connect()
    yield home
    get_settings.cache_clear()


def contents(folder: Path) -> dict[str, str]:
    """Return the digest of each file."""
    return {
        str(path.relative_to(folder)): sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in (".lock", ".pyc")
    }


@pytest.mark.slow
def test_a_copy_goes_on_by_itself_and_never_writes_into_the_original(
    original: Path,
    tmp_path: Path,
    tiny_base: Path,
    labelled_csv: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inbox = rows_in(original / "inbox", "monday")
    first = score_shards([str(inbox.parent)], str(original / "scored" / "inbox"), workers=1)
    copy = Path(shutil.copytree(original, tmp_path / "copy"))
    before = contents(original)

    use_home(copy, monkeypatch)
    with pytest.raises(ParameterError, match=r"was moved or copied, and its mlflow.db has"):
        connect()
    relocate()
    for path in (*copy.glob("*.db"), *copy.glob("scored/**/*.json"), *copy.glob("data/*/*/*.json")):
        assert b"original, 100" not in path.read_bytes(), path

    rows_in(copy / "inbox", "tuesday")
    more = score_shards([str(copy / "inbox")], str(copy / "scored" / "inbox"), workers=1)
    assert (first["rows_in"], more["rows_in"], more["shards_skipped"]) == (6, 12, 1)
    assert more["files_removed"] == []
    assert len(pd.read_parquet(copy / "scored" / "inbox" / "predictions")) == 12
    assert train_unevaluated(tiny_base, labelled_csv)["reused"]
    report = train_unevaluated(tiny_base, labelled_csv, seed=4)
    build_unverified(report["finetuned_model"])
    assert contents(original) == before


def test_commands_refuse_a_copy_before_work_and_a_moved_folder_too(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(original, tmp_path / "copy"))
    before = contents(original)
    said = f"MILLSTREAM_HOME: {copy} was moved or copied, and its mlflow.db has the artifacts in "
    ended = subprocess.run(
        [sys.executable, "-m", "flows.promote_pipeline", "--version", "1"],
        cwd=REPOSITORY,
        env={"PATH": os.defpath, "MILLSTREAM_HOME": str(copy), "MILLSTREAM_PROJECT": os.devnull},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert ended.stderr.startswith(f"error: {said}{original}; ")
    use_home(copy, monkeypatch)
    monkeypatch.setattr(sys, "argv", ["user_interface", "mlflow"])
    for command in (up, serve_user_interface):
        with pytest.raises(ParameterError, match=re.escape(said)):
            command()
    assert contents(original) == before

    moved = Path(shutil.move(original, tmp_path / "moved"))
    use_home(moved, monkeypatch)
    with pytest.raises(ParameterError, match="was moved or copied"):
        connect()
    relocate()
    load_pipeline("models:/inference_pipeline_model/1")
    assert not original.exists()


def test_a_copy_that_shares_files_with_the_original_is_not_relocated(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copyfile(original / "mlflow.db", copy / "mlflow.db")
    use_home(copy, monkeypatch)
    with pytest.raises(DataError, match=r"missing, but .* has the files of the model m-"):
        relocate()
    (copy / "mlartifacts").symlink_to(original / "mlartifacts")
    with pytest.raises(ParameterError, match=r"mlartifacts is a link to .*; expected a copy"):
        relocate()


@pytest.mark.usefixtures("new_database")
def test_a_database_that_folders_share_is_not_taken_for_a_copy(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect()
    database = f"sqlite:///{home}/mlflow.db"
    use_home(tmp_path / "other", monkeypatch)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    get_settings.cache_clear()
    ensure_experiment("shared")
    (tmp_path / "other" / "mlartifacts").mkdir()
    use_home(home, monkeypatch)
    connect()


def test_only_paths_below_the_former_folder_change(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(original, tmp_path / "copy"))
    record = copy / "scored" / "out" / "records" / "a.json"
    record.parent.mkdir(parents=True)
    kept = [f"/mnt{original}/a", f"{original}-2/a", f"a {original.name}/b"]
    record.write_text(json.dumps([*kept, str(original), f"{original}/a"]))
    use_home(copy, monkeypatch)
    relocate_folder(get_settings(), original)
    assert json.loads(record.read_text()) == [*kept, str(copy), f"{copy}/a"]
