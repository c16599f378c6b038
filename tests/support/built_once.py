"""What one process of a test run builds for all of them."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tasks.common.settings import Settings, get_settings
from tasks.maintenance.relocation import relocate
from tests.support.builders import use_home


def built_once(
    tmp_path_factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]
) -> Path:
    """Return a folder that the first process which asks for it builds; nobody may change it.

    Args:
        tmp_path_factory: That of pytest. Its folders of the processes of a run are in one folder:
            https://pytest-xdist.readthedocs.io/en/stable/how-to.html#making-session-scoped-fixtures-execute-only-once
        name: Name of the folder.
        build: Fills the folder, which is empty.
    """
    of_process = tmp_path_factory.getbasetemp()
    of_run = of_process.parent if "PYTEST_XDIST_WORKER" in os.environ else of_process
    folder, built = of_run / "once" / name, of_run / "once" / f"{name}.built"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not built.exists():
            shutil.rmtree(folder, ignore_errors=True)  # a build that failed is begun anew
            folder.mkdir()
            build(folder)
            built.touch()
    return folder


@dataclass(frozen=True)
class BuiltHome:
    """A state folder that nobody may change, and what its build returned.

    Attributes:
        home: The state folder.
        report: What its build returned.
    """

    home: Path
    report: dict[str, Any]

    def copied(self, home: Path) -> dict[str, Any]:
        """Copy the state folder to `home`, and return the report with the paths of the copy."""
        copied_home(self.home, home)
        report = json.dumps(self.report).replace(str(self.home), str(home))
        return dict(json.loads(report))


def home_built_once(
    tmp_path_factory: pytest.TempPathFactory, name: str, build: Callable[[Path], dict[str, Any]]
) -> BuiltHome:
    """Return a state folder that the first process which asks for it builds.

    Args:
        tmp_path_factory: That of pytest.
        name: Name of the folder.
        build: Makes the state folder that it is given, while the settings name it, and returns
            what JSON can hold.
    """

    def build_home(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as monkeypatch:
            use_home(folder / "var", monkeypatch)
            report = build(folder / "var")
        get_settings.cache_clear()
        (folder / "report.json").write_text(json.dumps(report))

    folder = built_once(tmp_path_factory, name, build_home)
    return BuiltHome(folder / "var", json.loads((folder / "report.json").read_text()))


def copied_home(original: Path, home: Path) -> Path:
    """Copy a state folder, with all that is in it."""
    shutil.copytree(original, home)
    relocate(Settings().model_copy(update={"home": home}), original)
    return home
