"""One MLflow that several state folders share."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tasks.common.environment import environment_with
from tasks.common.settings import REPOSITORY, get_settings
from tasks.tracking.mlflow_client import connect, ensure_experiment

_CREATE = "from tasks.tracking.mlflow_client import ensure_experiment as e; print(e('shared'))"


def test_an_experiment_that_another_home_makes_meanwhile_is_taken(
    new_database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = MlflowClient.get_experiment_by_name
    other = []

    def answered_before_the_other_made_it(client: MlflowClient, name: str) -> Any:
        found = look_up(client, name)
        if found is None:
            other.append(client.create_experiment(name))
        return found

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", answered_before_the_other_made_it)
    connect()
    assert [ensure_experiment("shared")] == other


@pytest.mark.slow
def test_homes_that_begin_at_once_share_a_database(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "shared" / "mlflow.db"
    database.parent.mkdir()
    begun = [
        subprocess.Popen(
            [sys.executable, "-c", _CREATE],
            cwd=REPOSITORY,
            env=environment_with(
                {
                    "MILLSTREAM_HOME": str(tmp_path / f"home-{number}"),
                    "MLFLOW_TRACKING_URI": f"sqlite:///{database}",
                    # MLflow's own lock is here: machines have one each.
                    "TMPDIR": str(_folder(tmp_path / f"temporary-{number}")),
                }
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    ended = [process.communicate(timeout=180) for process in begun]
    assert [process.returncode for process in begun] == [0, 0], ended
    assert len({output for output, _ in ended}) == 1
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    get_settings.cache_clear()
    (shared,) = connect().search_experiments(filter_string="name = 'shared'")
    assert ended[0][0].strip() == shared.experiment_id


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
