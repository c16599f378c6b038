"""Where state lives, by default and when it is moved."""

from pathlib import Path

import pytest

from tasks.errors import ParameterError
from tasks.settings import REPOSITORY, Settings, check_home, get_settings


def test_state_lives_in_the_repository_whatever_the_users_home_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MILLSTREAM_HOME")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = Settings()
    assert settings.root == REPOSITORY / "var"
    assert settings.tracking_uri == f"sqlite:///{REPOSITORY}/var/mlflow.db"


def test_millstream_home_moves_all_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MILLSTREAM_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    settings = Settings()
    places = (
        settings.artifacts,
        settings.checkpoints,
        settings.data,
        settings.mlflow_database,
        settings.prediction_cache,
        settings.prefect_home,
        settings.scored,
    )
    assert {place.parent for place in places} == {tmp_path}


def test_mlflow_tracking_uri_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert Settings().tracking_uri == "http://127.0.0.1:5000"


def test_a_home_that_is_no_folder_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.write_text("a file")
    with pytest.raises(ParameterError, match=r"MILLSTREAM_HOME: .*var is no folder"):
        check_home()
    monkeypatch.setenv("MILLSTREAM_HOME", "/proc/nowhere")
    get_settings.cache_clear()
    with pytest.raises(ParameterError, match="MILLSTREAM_HOME: /proc/nowhere is no folder"):
        check_home()
