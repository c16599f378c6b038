"""A machine that joins: its services, and what it refuses before any of them starts."""

from pathlib import Path

import pytest

from deployments.services.definitions import WORKER, check_join, services_of
from tasks.common.errors import ParameterError
from tasks.common.settings import Settings

API = "http://10.0.0.5:4200/api"
MLFLOW = "http://10.0.0.5:5000"


@pytest.fixture(autouse=True)
def _joins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOIN", "1")


def test_it_starts_a_worker_alone_with_a_limit_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", API)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", MLFLOW)
    monkeypatch.setenv("MILLSTREAM_CONCURRENT_RUNS", "5")
    check_join(Settings())
    (worker,) = services_of(Settings())
    assert worker.name == WORKER
    limit = worker.command.index("--limit")
    assert worker.command[limit : limit + 2] == ("--limit", "5")


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, r"^JOIN: beside Prefect's server at http://127.0.0.1:4200/api; expected PREFECT_API"),
        ({"PREFECT_API_URL": API}, "^JOIN: beside MLflow at sqlite:///.*; expected MLFLOW_TRACK"),
    ],
)
def test_servers_of_its_own_are_refused(
    variables: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ParameterError, match=reason):
        check_join(Settings())
