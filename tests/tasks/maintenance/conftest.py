"""State folders with superseded versions."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flows.promote_pipeline import promote_pipeline
from tasks.common.settings import get_settings
from tests.support.builders import train_tiny, use_home
from tests.support.built_once import copied_home, home_built_once
from tests.tasks.maintenance.steps import P1, QUICK, build, score


@pytest.fixture(scope="session")
def built(
    prefect_harness: None,
    tmp_path_factory: pytest.TempPathFactory,
    labelled_csv: Path,
) -> Path:
    """A state folder with three versions of both models: the last is champion, after the second."""

    def build_all(_: Path) -> dict[str, Any]:
        for seed in (1, 2, 3):
            report = train_tiny("static", labelled_csv, seed=seed, **QUICK)
            build(report["finetuned_model"])
            promote_pipeline(str(seed))
        return {}

    return home_built_once(tmp_path_factory, "superseded", build_all).home


@pytest.fixture(scope="session")
def built_and_asked(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, after the first version answered a row, of which the output folder is gone."""

    def ask(home: Path) -> dict[str, Any]:
        copied_home(built, home)
        score(home / "scored" / "first", model_uri=P1)
        shutil.rmtree(home / "scored")
        return {}

    return home_built_once(tmp_path_factory, "superseded-asked", ask).home


@pytest.fixture(scope="session")
def built_and_scored(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, after the champion scored a row, with its output folder."""

    def score_row(home: Path) -> dict[str, Any]:
        copied_home(built, home)
        score(home / "scored" / "output")
        return {}

    return home_built_once(tmp_path_factory, "superseded-scored", score_row).home


@contextmanager
def copy_of(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let the settings name a copy of a state folder."""
    home = copied_home(original, tmp_path / "var")
    use_home(home, monkeypatch)
    yield home
    get_settings.cache_clear()


@pytest.fixture
def state(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder with superseded versions, for one test alone."""
    with copy_of(built, tmp_path, monkeypatch) as home:
        yield home


@pytest.fixture
def asked_state(
    built_and_asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The same, with an answer of `P1` in the cache, and in no output folder."""
    with copy_of(built_and_asked, tmp_path, monkeypatch) as home:
        yield home


@pytest.fixture
def output(
    built_and_scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The output folder of a run, in such a state folder."""
    with copy_of(built_and_scored, tmp_path, monkeypatch) as home:
        yield home / "scored" / "output"
