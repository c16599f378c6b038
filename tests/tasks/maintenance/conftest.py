"""A state folder with superseded versions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.promote_pipeline import promote_pipeline
from tasks.common.settings import get_settings
from tests.support.builders import train_tiny, use_home
from tests.support.built_once import copied_home, home_built_once
from tests.tasks.maintenance.steps import QUICK, build


@pytest.fixture(scope="session")
def built(
    prefect_harness: None,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_base: Path,
    labelled_csv: Path,
) -> Path:
    """A state folder with three versions of both models: the last is champion, after the second."""

    def build_all(_: Path) -> dict[str, Any]:
        for seed in (1, 2, 3):
            report = train_tiny(tiny_base, labelled_csv, seed=seed, **QUICK)
            build(report["finetuned_model"])
            promote_pipeline(str(seed))
        return {}

    return home_built_once(tmp_path_factory, "superseded", build_all).home


@pytest.fixture
def state(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of it."""
    home = copied_home(built, tmp_path / "var")
    use_home(home, monkeypatch)
    yield home
    get_settings.cache_clear()
