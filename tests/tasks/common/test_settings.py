"""Where state lives, by default and when it is moved."""

import os
import socket
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from deployments.services.definitions import api_url, services_of
from tasks.common import environment
from tasks.common.environment import check_home, environment_with
from tasks.common.errors import ParameterError
from tasks.common.settings import REPOSITORY, Settings, get_settings
from tests.support.http_server import serving


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
        settings.replay,
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


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:hunter2@127.0.0.1:5000",
        "https://hunter2@models.example.org",
        "https://me:12/hunter2@models.example.org",
        "postgresql://me:hunter2@db.example.org/mlflow",
    ],
)
def test_a_password_in_mlflows_address_is_refused_and_not_quoted(
    monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(
        ParameterError, match=r"^MLFLOW_TRACKING_URI: .*MLFLOW_TRACKING_PASSWORD"
    ) as e:
        get_settings.__wrapped__()
    assert "hunter2" not in "".join(traceback.format_exception(e.value))


@pytest.mark.parametrize("uri", ["sqlite:////data/a:b@c/mlflow.db", "postgresql://me@db/mlflow"])
def test_an_address_without_a_password_is_taken(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert Settings().tracking_uri == uri


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PREFECT_SERVER_CORS_ALLOWED_ORIGINS", "http://["),
        ("PREFECT_SERVER_CORS_ALLOWED_ORIGINS", "https://runs.example.org,runs.example.org"),
        ("PREFECT_SERVER_CORS_ALLOWED_ORIGINS", "https://runs.example.org:99999"),
        ("PREFECT_UI_URL", "http://[::1"),
        ("PREFECT_UI_URL", "runs.example.org"),
        ("PREFECT_API_URL", "http://127.0.0.1:4200x/api"),
        ("PREFECT_API_URL", "127.0.0.1:4200"),
        ("PREFECT_API_URL", "http://"),
        ("MLFLOW_TRACKING_URI", "http://127.0.0.1:70000"),
        ("MLFLOW_TRACKING_URI", "https://[models"),
        ("MILLSTREAM_NOTIFICATION_URL", "https://[hunter2"),
        ("MILLSTREAM_HOST", "http://127.0.0.1"),
        ("MILLSTREAM_HOST", "127.0.0.1:4200"),
        ("MILLSTREAM_HOST", "my host"),
        ("PREFECT_PORT", "70000"),
        ("MLFLOW_PORT", "5000x"),
        ("MILLSTREAM_DOWNLOAD_LIMIT", "16GiB"),
        ("MILLSTREAM_LONGEST_RUN_HOURS", "nan"),
        ("MILLSTREAM_LONGEST_RUN_HOURS", "inf"),
    ],
)
def test_a_malformed_variable_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ParameterError, match=f"^{variable}: ") as raised:
        get_settings.__wrapped__()
    assert "\n" not in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        (
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS",
            "*, https://münchen.example:8443/ui/ ,http://[::1]:80",
        ),
        ("PREFECT_API_URL", "HTTPS://[::1]:4200/api"),
        ("MLFLOW_TRACKING_URI", "databricks"),
        ("MILLSTREAM_HOST", "fe80::1%eth0"),
        ("MILLSTREAM_HOST", "gpu_box.local"),
    ],
)
def test_a_well_formed_variable_is_taken(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    get_settings.__wrapped__()


@pytest.mark.parametrize(("given", "token"), [("secret\n", "secret"), (" \n", "")])
def test_the_token_of_a_file_ends_without_its_newline(
    monkeypatch: pytest.MonkeyPatch, given: str, token: str
) -> None:
    monkeypatch.setenv("MILLSTREAM_SERVE_TOKEN", given)
    assert get_settings.__wrapped__().serve_token.get_secret_value() == token


@pytest.mark.parametrize(
    ("module", "variable", "value"),
    [
        ("deployments.check_config", "PREFECT_SERVER_CORS_ALLOWED_ORIGINS", "http://["),
        ("deployments.up", "MILLSTREAM_CACHE_SIZE_LIMIT", "2GiB"),
    ],
)
def test_what_is_read_by_another_process_is_checked_before_it_starts(
    tmp_path: Path, module: str, variable: str, value: str
) -> None:
    command = subprocess.run(
        [sys.executable, "-m", module],
        cwd=REPOSITORY,
        env=os.environ | {"MILLSTREAM_HOME": str(tmp_path), variable: value},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert command.returncode == 2
    assert command.stderr.startswith(f"error: {variable}: ")
    assert command.stderr.count("\n") == 1


@pytest.mark.parametrize("module", ["deployments.status", "deployments.down", "flows.prune_cache"])
@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        (
            "MILLSTREAM_CONCURRENT_RUNS",
            "0",
            "MILLSTREAM_CONCURRENT_RUNS: Input should be greater than or equal to 1, got '0'",
        ),
        (
            "MLFLOW_TRACKING_URI",
            "http://me:hunter2@host",
            (
                "MLFLOW_TRACKING_URI: http://host has a password in it; expected that in "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or in the file of a "
                "database's driver"
            ),
        ),
        (
            "MILLSTREAM_NOTIFICATION_URL",
            "example.org/hunter2",
            (
                "MILLSTREAM_NOTIFICATION_URL: is no http(s) URL; expected one such as "
                "https://example.org/hook"
            ),
        ),
    ],
)
def test_a_variable_out_of_bounds_is_one_line_and_code_2(
    tmp_path: Path, module: str, variable: str, value: str, line: str
) -> None:
    command = subprocess.run(
        [sys.executable, "-m", module],
        cwd=REPOSITORY,
        env=os.environ | {"HOME": str(tmp_path), "MILLSTREAM_HOME": str(tmp_path), variable: value},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (command.returncode, command.stderr) == (2, f"error: {line}\n")
    assert not (tmp_path / ".prefect").exists()


@pytest.mark.parametrize(
    ("given", "excepted"),
    [
        ({}, "127.0.0.1,localhost,::1,192.0.2.7"),
        ({"NO_PROXY": "example.org"}, "example.org,127.0.0.1,localhost,::1,192.0.2.7"),
        ({"no_proxy": "localhost", "NO_PROXY": "x"}, "localhost,127.0.0.1,::1,192.0.2.7"),
        ({"NO_PROXY": "*"}, "*"),
    ],
)
def test_servers_of_this_machine_are_reached_without_the_proxy(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], excepted: str
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, given.get(name, ""))
    for _ in range(2):  # a child inherits it
        environment._bypass_proxy("192.0.2.7")
        assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == excepted


def test_a_proxy_is_not_asked_for_a_server_of_this_machine() -> None:
    with serving(b"") as server:
        subprocess.run(
            [sys.executable, "-c", "import sys, tasks, httpx; httpx.get(sys.argv[1])", server.url],
            cwd=REPOSITORY,
            env=os.environ | {"http_proxy": "http://127.0.0.1:1", "NO_PROXY": "", "no_proxy": ""},
            check=True,
        )
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("host", "found_at"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::1", "[::1]"),
        ("::", "[::1]"),
    ],
)
def test_servers_are_found_where_they_listen(
    monkeypatch: pytest.MonkeyPatch, host: str, found_at: str
) -> None:
    monkeypatch.setenv("MILLSTREAM_HOST", host)
    assert Settings().mlflow_url == f"http://{found_at}:5000"
    assert api_url(Settings()) == f"http://{found_at}:4200/api"
    names = ["prefect", "mlflow", "serve", "worker"]
    assert [service.name for service in services_of(Settings())] == names
    monkeypatch.setenv("SERVE", "0")
    names.remove("serve")
    assert [service.name for service in services_of(Settings())] == names


def test_the_address_that_a_kill_left_behind_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "services").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        url = f"http://127.0.0.1:{foreign.getsockname()[1]}/api"
        (tmp_path / "services" / "api-url").write_text(url)
        shown = subprocess.run(
            [sys.executable, "-c", "import os, tasks; print(os.environ.get('PREFECT_API_URL'))"],
            cwd=REPOSITORY,
            env=environment_with({"MILLSTREAM_HOME": str(tmp_path), "PREFECT_API_URL": ""}),
            check=True,
            capture_output=True,
            text=True,
        )
    assert shown.stdout == "None\n"
