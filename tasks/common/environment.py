"""The process environment: variables for dependencies and child processes, and its loggers."""

import logging
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from tasks.common.errors import ParameterError
from tasks.common.settings import REPOSITORY, Settings, get_settings


def environment_with(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of this process with other variables, for a process that it starts."""
    return os.environ | variables


def check_home() -> None:
    """Make sure that state can be kept.

    Raises:
        ParameterError: If `home` is no folder that may be written.
    """
    root = get_settings().root
    if not root.is_dir() or not os.access(root, os.W_OK):
        raise ParameterError(f"MILLSTREAM_HOME: {root} is no folder that may be written")


def prepare_process() -> None:
    """Give the dependencies their defaults: state under `home`, no telemetry, our own log lines.

    They read these variables when they are imported, so this has to run before. A
    variable that is already set wins.
    """
    try:
        settings = get_settings()
    except ParameterError:
        # The command says so, in one line; Prefect's files have to be somewhere meanwhile.
        settings = Settings.model_construct(home=_home())
    # Prefect makes its home when it is imported, but not the folder above it. What cannot be
    # made is an error of the command (`check_home`), not of the import.
    with suppress(OSError):
        settings.root.mkdir(parents=True, exist_ok=True)
    defaults = {
        # The served model and child processes look for the cache here.
        "MILLSTREAM_HOME": str(settings.root),
        "PREFECT_HOME": str(settings.prefect_home),
        # A first start migrates a new database, which takes 17 s on two cores; Prefect waits 20.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # What automations wait for; by default a server that was away for a minute more than they
        # wait forgets it when it starts, and runs that were cut off stay Running. That of a
        # command opens the same database as that of `make up`.
        "PREFECT_SERVER_EVENTS_EXPIRED_BUCKET_BUFFER": "P30D",
        # Prefect's default lets the pages of any site in a local browser call the API.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": settings.prefect_url,
        # Seconds; a run that is silent for longer is taken for dead. Prefect takes no less.
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "tasks,pyfunc",
        # The same loggers speak where there is no run, as in a notebook.
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        # MLflow compares with "true" and ignores "1".
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        # Local copies take no time worth a bar.
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    _reach_servers_without_a_proxy(settings.host)
    if settings.explicit_api_url is None:
        # Prefect takes an empty address for an address.
        os.environ.pop("PREFECT_API_URL", None)
        if url := _running_server(settings):
            os.environ["PREFECT_API_URL"] = url
    for name in ("tasks", "pyfunc"):
        # Else the root logger's level holds, which Prefect sets to WARNING.
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger("prefect.flows").addFilter(_names_no_parameters)


def _reach_servers_without_a_proxy(host: str) -> None:
    """Except this machine from the proxy that the environment may name; httpx asks it for all."""
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    names = [name.strip() for name in given.split(",") if name.strip()]
    if "*" not in names:
        names += [name for name in ("127.0.0.1", "localhost", "::1", host) if name not in names]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(names)


def _names_no_parameters(record: logging.LogRecord) -> bool:
    """Drop the line in which Prefect logs all parameters if one is refused; the error names that.

    https://github.com/PrefectHQ/prefect/blob/3.8.8/src/prefect/flows.py#L676
    """
    return not record.getMessage().startswith("Parameter validation failed for flow")


def _home() -> Path:
    return Path(os.environ.get("MILLSTREAM_HOME") or REPOSITORY / "var")


def _running_server(settings: Settings) -> str:
    """Return the API of the server that `make up` uses for this state folder, if it listens.

    What a kill or a reboot left in the file is not believed: another may listen there by now.
    """
    with suppress(OSError), socket.socket(socket.AF_UNIX) as manager:
        url = settings.api_url_file.read_text(encoding="utf-8")
        manager.connect(str(settings.manager_socket))
        place = urlsplit(url)
        port = place.port or {"http": 80, "https": 443}[place.scheme]
        socket.create_connection((place.hostname, port), timeout=1).close()
        return url
    return ""
