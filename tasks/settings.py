"""Where state lives and which servers are used: the one place that reads the environment."""

import logging
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tasks.addresses import has_password, is_url, public
from tasks.errors import ParameterError

Port = Annotated[int, Field(ge=1, le=65535)]

REPOSITORY = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """Settings taken from environment variables; everything has a default.

    Attributes:
        home: Folder of all state (`MILLSTREAM_HOME`, default `var/` in the repository).
        explicit_tracking_uri: MLflow's tracking and registry address (`MLFLOW_TRACKING_URI`); none
            takes the SQLite file `mlflow.db` under `home`.
        explicit_api_url: Prefect's API (`PREFECT_API_URL`); without it the server of `make up`, or
            one for each run.
        host: Address that the servers of `make up` listen on (`MILLSTREAM_HOST`).
        prefect_port: Port of Prefect's server and UI (`PREFECT_PORT`).
        mlflow_port: Port of MLflow's server and UI (`MLFLOW_PORT`).
        concurrent_runs: Runs that its worker has at a time (`MILLSTREAM_CONCURRENT_RUNS`).
        longest_run_hours: Hours after which a run is cancelled (`MILLSTREAM_LONGEST_RUN_HOURS`).
        notification_url: Webhook that is told of failed runs of schedules and events
            (`MILLSTREAM_NOTIFICATION_URL`).
        netrc: File with the logins of hosts that data is downloaded from (`NETRC`); none takes
            `~/.netrc`, if there is one.
    """

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True)

    home: Path = Field(default=REPOSITORY / "var", validation_alias="MILLSTREAM_HOME")
    explicit_tracking_uri: str | None = Field(default=None, validation_alias="MLFLOW_TRACKING_URI")
    explicit_api_url: str | None = Field(default=None, validation_alias="PREFECT_API_URL")
    host: str = Field(default="127.0.0.1", validation_alias="MILLSTREAM_HOST")
    prefect_port: Port = Field(default=4200, validation_alias="PREFECT_PORT")
    mlflow_port: Port = Field(default=5000, validation_alias="MLFLOW_PORT")
    concurrent_runs: Annotated[int, Field(ge=1)] = Field(
        default=2, validation_alias="MILLSTREAM_CONCURRENT_RUNS"
    )
    longest_run_hours: Annotated[float, Field(gt=0)] = Field(
        default=12.0, validation_alias="MILLSTREAM_LONGEST_RUN_HOURS"
    )
    notification_url: SecretStr | None = Field(
        default=None, validation_alias="MILLSTREAM_NOTIFICATION_URL"
    )
    netrc: Path | None = Field(default=None, validation_alias="NETRC")

    @field_validator("explicit_tracking_uri")
    @classmethod
    def _has_no_password(cls, uri: str | None) -> str | None:
        # It gets into links, messages and command lines.
        if uri is not None and has_password(uri):
            raise ParameterError(
                f"MLFLOW_TRACKING_URI: {public(uri)} has a password in it; expected that in "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or in the file of a "
                "database's driver"
            )
        return uri

    @field_validator("notification_url")
    @classmethod
    def _is_an_address(cls, url: SecretStr | None) -> SecretStr | None:
        # It may hold a token, so that it is not quoted.
        if url is not None and not is_url(url.get_secret_value()):
            raise ParameterError(
                "MILLSTREAM_NOTIFICATION_URL: is no http(s) URL; expected one such as "
                "https://example.org/hook"
            )
        return url

    @property
    def tracking_uri(self) -> str:
        return self.explicit_tracking_uri or f"sqlite:///{self.mlflow_database}"

    @property
    def mlflow_url(self) -> str:
        """Where people look at MLflow: the server that is named, or else that of `make up`."""
        named = self.explicit_tracking_uri or ""
        if named.startswith(("http://", "https://")):
            return named.rstrip("/")
        return f"http://{self.reachable_host}:{self.mlflow_port}"

    @property
    def prefect_url(self) -> str:
        """Where people find the Prefect server of `make up`."""
        return f"http://{self.reachable_host}:{self.prefect_port}"

    @property
    def reachable_host(self) -> str:
        """The address, as in a URL, at which this machine finds a server that listens on `host`."""
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- compared, not bound
        host = everywhere.get(self.host, self.host)
        return f"[{host}]" if ":" in host else host

    @property
    def mlflow_database(self) -> Path:
        return self.root / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        return self.root / "mlartifacts"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def prediction_cache(self) -> Path:
        return self.root / "prediction-cache"

    @property
    def scored(self) -> Path:
        return self.root / "scored"

    @property
    def inbox(self) -> Path:
        return self.root / "inbox"

    @property
    def services(self) -> Path:
        return self.root / "services"

    @property
    def api_url_file(self) -> Path:
        return self.services / "api-url"

    @property
    def manager_socket(self) -> Path:
        """Where the process manager of `make up` answers."""
        return self.services / "supervisor.sock"

    @property
    def prefect_home(self) -> Path:
        return self.root / "prefect"

    @property
    def root(self) -> Path:
        """`home` as an absolute path, so that a later change of folder cannot move it."""
        return self.home.expanduser().resolve()


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the settings of this process; the environment is read once.

    Raises:
        ParameterError: If a variable is out of bounds.
    """
    try:
        return Settings()
    except ValidationError as error:
        found = error.errors()[0]
        raise ParameterError(f"{found['loc'][0]}: {found['msg']}, got {found['input']!r}") from None


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
