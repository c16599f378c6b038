"""A state folder with superseded versions."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flows.promote_pipeline import promote_pipeline
from tasks.common.settings import get_settings
from tests.support.builders import train_tiny, use_home
from tests.tasks.maintenance.steps import QUICK, build


@pytest.fixture(scope="session")
def built(
    prefect_harness: None,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_base: Path,
    labelled_csv: Path,
) -> Path:
    """A state folder with three versions of both models: the last is champion, after the second."""
    home = tmp_path_factory.mktemp("built") / "var"
    with pytest.MonkeyPatch.context() as patch:
        use_home(home, patch)
        for seed in (1, 2, 3):
            report = train_tiny(tiny_base, labelled_csv, seed=seed, **QUICK)
            build(report["finetuned_model"])
            promote_pipeline(str(seed))
    get_settings.cache_clear()
    return home


@pytest.fixture
def state(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of it."""
    home = tmp_path / "var"
    shutil.copytree(built, home)
    columns = {
        "experiments": "artifact_location",
        "runs": "artifact_uri",
        "logged_models": "artifact_location",
        "model_versions": "storage_location",
    }
    with closing(sqlite3.connect(home / "mlflow.db", isolation_level=None)) as database:
        for table, column in columns.items():
            database.execute(
                f"UPDATE {table} SET {column} = REPLACE({column}, ?, ?)",
                (str(built), str(home)),
            )
    use_home(home, monkeypatch)
    yield home
    get_settings.cache_clear()
