"""A state folder with superseded versions."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.promote_pipeline import promote_pipeline
from tasks.common.settings import get_settings
from tasks.maintenance.relocation import relocate
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
    use_home(home, monkeypatch)
    relocate(get_settings(), built)
    yield home
    get_settings.cache_clear()
