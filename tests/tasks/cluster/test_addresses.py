"""The parameter `runner`: its form, and the servers that it needs."""

from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.check_config import check_config
from flows.end_to_end import check_services
from flows.run_requests import ScoringRequest
from tasks.cluster.addresses import check_runner, check_shared_services, resolve_runner
from tasks.common.errors import ParameterError
from tasks.common.settings import get_settings

LOCAL = "tcp://127.0.0.1:8786"


@pytest.mark.parametrize(
    "runner",
    ["threads", LOCAL, "tcp://localhost:1", "tcp://[::1]:8786", "tls://scheduler:8786"],
)
def test_runner_is_threads_or_the_address_of_a_scheduler(runner: str) -> None:
    check_runner(runner)
    ScoringRequest(inputs=("rows.csv",), runner=runner)


@pytest.mark.parametrize(
    ("runner", "reason"),
    [
        ("dask", "^runner: 'dask'; expected threads, tcp://"),
        ("http://127.0.0.1:8786", "^runner: 'http://127.0.0.1:8786'; expected"),
        ("tcp://127.0.0.1", "^runner: 'tcp://127.0.0.1'; expected"),
        ("tcp://127.0.0.1:99999", "expected threads"),
        ("tcp://127.0.0.1:8786/path", "expected threads"),
        ("tls://:8786", "expected threads"),
        ("tls://user:secret@host:8786", r"^runner: 'tls://[^']*host:8786'.*; expected"),
        ("tcp://scheduler:8786", "not encrypted, .* expected tls://scheduler:8786"),
        ("tcp://10.0.0.1:8786", "not encrypted, .* expected tls://10.0.0.1:8786"),
    ],
)
def test_what_is_no_runner_is_refused_before_a_run(runner: str, reason: str) -> None:
    with pytest.raises(ParameterError, match=reason) as raised:
        check_runner(runner)
    assert "secret" not in str(raised.value)
    with pytest.raises(ParameterError, match=reason):
        ScoringRequest(inputs=("rows.csv",), runner=runner)


def test_an_empty_runner_is_that_of_the_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resolve_runner("") == "threads"
    monkeypatch.setenv("MILLSTREAM_RUNNER", LOCAL)
    get_settings.cache_clear()
    assert resolve_runner("") == LOCAL
    assert resolve_runner("threads") == "threads"
    monkeypatch.setenv("MILLSTREAM_RUNNER", "cluster")
    get_settings.cache_clear()
    with pytest.raises(ParameterError, match=r"^MILLSTREAM_RUNNER: 'cluster'; expected"):
        resolve_runner("")
    home.mkdir()
    with pytest.raises(ParameterError, match=r"^MILLSTREAM_RUNNER: 'cluster'; expected"):
        check_config()


def test_end_to_end_checks_what_its_last_step_needs_before_the_first(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLSTREAM_RUNNER", LOCAL)
    get_settings.cache_clear()
    with pytest.raises(ParameterError, match=f"^MLFLOW_TRACKING_URI: sqlite:.* runner {LOCAL};"):
        check_services({"source": "rows.csv"})
    check_services({"source": "rows.csv", "steps": ("download_data", "fine_tuning_model")})


def test_workers_need_servers_that_they_reach(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_shared_services("threads")
    with pytest.raises(ParameterError, match=f"^MLFLOW_TRACKING_URI: sqlite:.* runner {LOCAL};"):
        check_shared_services(LOCAL)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    get_settings.cache_clear()
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(ParameterError, match=f"^PREFECT_API_URL: missing beside runner {LOCAL};"),
    ):
        check_shared_services(LOCAL)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:4200/api"}):
        check_shared_services(LOCAL)
