"""The process environment: variables of dependencies and child processes, log levels."""

import logging
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from pyfunc.cache.settings import prediction_cache_size_limit
from pyfunc.errors import SettingError
from tasks.common.errors import ParameterError
from tasks.common.settings import REPOSITORY, Settings, get_settings
from tasks.common.urls import reachable_path


def environment_with(variables: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment updated with `variables`, for a child process."""
    return os.environ | variables


def set_prefect_api(url: str) -> None:
    """Name Prefect's API in this process's environment, and so in that of its children."""
    os.environ["PREFECT_API_URL"] = url


def set_tracking_uri(uri: str) -> None:
    """Name MLflow in this process's environment, as the driver of a cluster does to its workers."""
    os.environ["MLFLOW_TRACKING_URI"] = uri
    get_settings.cache_clear()


def check_home() -> None:
    """Check that `home` is a writable folder.

    Raises:
        ParameterError: If it is not.
    """
    root = get_settings().root
    if not root.is_dir() or not os.access(root, os.W_OK):
        raise ParameterError(f"MILLSTREAM_HOME: {root} is no folder that may be written")


def check_environment() -> None:
    """Check all variables before work, also the one that a loaded model reads.

    Raises:
        ParameterError: If one is out of bounds, or `home` is no writable folder.
    """
    check_home()
    try:
        prediction_cache_size_limit(None)
    except SettingError as error:
        raise ParameterError(str(error)) from error


def _home_at_hand() -> Path:
    """Return `home`, or its default if the variable names no folder of this machine."""
    home = os.environ.get("MILLSTREAM_HOME")
    with suppress(ParameterError):
        if home:
            return reachable_path("MILLSTREAM_HOME", home, "a folder")
    return REPOSITORY / "var"


def prepare_process(project_variables: Callable[[], Mapping[str, str]]) -> None:
    """Set defaults of the dependencies: state under `home`, no telemetry, our own log lines.

    Call it before they are imported, since they read these variables then. A variable that is set
    already stays.

    Args:
        project_variables: Returns the settings that the project file has, as variables.
    """
    try:
        for name, value in project_variables().items():
            os.environ.setdefault(name, value)
        get_settings.cache_clear()
        settings = get_settings()
    except ParameterError:
        # The command reports it in one line; Prefect's files need a folder until then.
        settings = Settings.model_construct(home=_home_at_hand())
    # When imported, Prefect creates its home, but not the folder above it. A failure is an error
    # of the command (`check_home`), not of the import.
    with suppress(OSError):
        settings.root.mkdir(parents=True, exist_ok=True)
    defaults = {
        # The served model and child processes have the cache here.
        "MILLSTREAM_HOME": str(settings.root),
        "PREFECT_HOME": str(settings.prefect_home),
        # A first start migrates a new database, which takes 17 s on two cores; Prefect waits 20.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # How long automations keep waiting for an event. By default a server that was down for a
        # minute longer than they wait drops them, and crashed runs stay Running. The server of a
        # command opens the same database as that of `make up`.
        "PREFECT_SERVER_EVENTS_EXPIRED_BUCKET_BUFFER": "P30D",
        # Prefect's default lets any site in a local browser call the API.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": settings.prefect_url,
        # Seconds, Prefect's minimum; a run without a heartbeat for longer counts as dead.
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "tasks,pyfunc",
        # The same loggers are used outside a run, as in a notebook.
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        # MLflow compares with "true" and ignores "1".
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        # It warns of its own configuration, as of the loss of a model that is traced.
        "TRANSFORMERS_VERBOSITY": "error",
        # Local copies are too fast for a progress bar.
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    _bypass_proxy(settings.host)
    if settings.explicit_api_url is None:
        # Prefect would use an empty address.
        os.environ.pop("PREFECT_API_URL", None)
        if url := _running_server_url(settings):
            os.environ["PREFECT_API_URL"] = url
    for name in ("tasks", "pyfunc"):
        # Otherwise the root logger's level applies, which Prefect sets to WARNING.
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger("prefect.flows").addFilter(_has_no_parameter_values)


def _bypass_proxy(host: str) -> None:
    """Exclude this machine from the environment's proxy, which httpx would use for it too."""
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    names = [name.strip() for name in given.split(",") if name.strip()]
    if "*" not in names:
        names += [name for name in ("127.0.0.1", "localhost", "::1", host) if name not in names]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(names)


def _has_no_parameter_values(record: logging.LogRecord) -> bool:
    """Filter out Prefect's log line with all parameters if one is invalid; the error names that.

    https://github.com/PrefectHQ/prefect/blob/3.8.8/src/prefect/flows.py#L676
    """
    return not record.getMessage().startswith("Parameter validation failed for flow")


def _running_server_url(settings: Settings) -> str:
    """Return the API URL of the server that `make up` runs for this state folder, if it listens.

    The file alone may be stale after a kill or a reboot, so the process manager has to answer too.
    """
    # A disk that was full leaves a file without an address.
    with suppress(OSError, ValueError, KeyError), socket.socket(socket.AF_UNIX) as manager:
        url = settings.api_url_file.read_text(encoding="utf-8")
        manager.connect(str(settings.manager_socket))
        place = urlsplit(url)
        port = place.port or {"http": 80, "https": 443}[place.scheme]
        socket.create_connection((place.hostname, port), timeout=1).close()
        return url
    return ""


def share_metrics(folder: Path) -> None:
    """Let `prometheus_client`, which is not imported yet, write metrics that processes share."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
