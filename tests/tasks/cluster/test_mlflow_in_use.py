"""A worker serves one MLflow at a time: shards wait, and the check of another run does not."""

import threading
from pathlib import Path

import pytest

from tasks.cluster.mlflow_in_use import MlflowInUse
from tasks.common.errors import ClusterError
from tasks.common.settings import get_settings

FIRST, SECOND = "http://127.0.0.1:5001", "http://127.0.0.1:5002"


@pytest.fixture(autouse=True)
def _tracking_uri(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    get_settings.cache_clear()


def test_another_is_refused_while_one_is_used_and_taken_then() -> None:
    in_use = MlflowInUse()
    with in_use.at(FIRST), in_use.at(FIRST, patience_s=60):
        with (
            pytest.raises(ClusterError, match=f"^serves a run with MLflow at {FIRST}; expected"),
            in_use.at(SECOND),
        ):
            pass
        assert get_settings().tracking_uri == FIRST
    with in_use.at(SECOND):
        assert get_settings().tracking_uri == SECOND


def test_who_has_patience_waits_for_the_other_and_no_longer() -> None:
    in_use = MlflowInUse()
    used = []

    def score() -> None:
        with in_use.at(SECOND, patience_s=60):
            used.append(get_settings().tracking_uri)

    with in_use.at(FIRST):
        thread = threading.Thread(target=score)
        thread.start()
        with pytest.raises(ClusterError), in_use.at(SECOND, patience_s=0.1):
            pass
        assert used == []
    thread.join()
    assert used == [SECOND]
