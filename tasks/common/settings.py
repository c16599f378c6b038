"""Settings from environment variables: state folder, servers, ports, limits."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tasks.common.errors import ParameterError
from tasks.common.files import absolute_path
from tasks.common.urls import (
    has_password,
    is_host,
    is_origin,
    is_url,
    local_path,
    reachable_path,
    redact_url,
)

Port = Annotated[int, Field(ge=1, le=65535)]

REPOSITORY = Path(__file__).resolve().parents[2]


class Settings(BaseSettings):
    """Settings taken from environment variables; everything has a default.

    Attributes:
        home: Folder of all state (`MILLSTREAM_HOME`, default `var/` in the repository).
        explicit_tracking_uri: MLflow's tracking and registry address (`MLFLOW_TRACKING_URI`); none
            takes the SQLite file `mlflow.db` under `home`.
        explicit_api_url: Prefect's API (`PREFECT_API_URL`); without it the server of `make up`, or
            one for each run.
        allowed_origins: Addresses of other sites that may call Prefect's server, with commas
            (`PREFECT_SERVER_CORS_ALLOWED_ORIGINS`); none takes its own.
        ui_url: Address of Prefect's UI, for links (`PREFECT_UI_URL`); none takes its own.
        host: Address that the servers of `make up` listen on (`MILLSTREAM_HOST`).
        prefect_port: Port of Prefect's server and UI (`PREFECT_PORT`).
        mlflow_port: Port of MLflow's server and UI (`MLFLOW_PORT`).
        serve_port: Port of online serving (`SERVE_PORT`).
        serve: Whether `make up` starts online serving (`SERVE`; 0 does not).
        join: Whether `make up` starts a worker alone, for the deployments of another machine
            (`JOIN`; 1 does).
        serve_token: What requests to online serving have to send (`MILLSTREAM_SERVE_TOKEN`);
            needed where it listens beyond this machine.
        concurrent_runs: Runs that a machine's worker has at a time
            (`MILLSTREAM_CONCURRENT_RUNS`).
        longest_run_hours: Hours after which a run is cancelled (`MILLSTREAM_LONGEST_RUN_HOURS`).
        notification_url: Webhook that is notified of failed runs of schedules and events
            (`MILLSTREAM_NOTIFICATION_URL`).
        download_limit: Bytes of a downloaded file, or of the files of a base model, at most
            (`MILLSTREAM_DOWNLOAD_LIMIT`).
        unpack_limit: Bytes that a zip, or a compressed Parquet file, may unpack to on disk
            (`MILLSTREAM_UNPACK_LIMIT`).
        project: The project file (`MILLSTREAM_PROJECT`, default `millstream.toml` in the
            repository); `/dev/null` is none.
        runner: What scores shards where a run does not say (`MILLSTREAM_RUNNER`): threads, or the
            address of a Dask scheduler.
        netrc: File with the logins of hosts that data is downloaded from (`NETRC`); none takes
            `~/.netrc`, if there is one.
    """

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True)

    home: Path = Field(default=REPOSITORY / "var", validation_alias="MILLSTREAM_HOME")
    explicit_tracking_uri: str | None = Field(default=None, validation_alias="MLFLOW_TRACKING_URI")
    explicit_api_url: str | None = Field(default=None, validation_alias="PREFECT_API_URL")
    allowed_origins: str | None = Field(
        default=None, validation_alias="PREFECT_SERVER_CORS_ALLOWED_ORIGINS"
    )
    ui_url: str | None = Field(default=None, validation_alias="PREFECT_UI_URL")
    host: str = Field(default="127.0.0.1", validation_alias="MILLSTREAM_HOST")
    prefect_port: Port = Field(default=4200, validation_alias="PREFECT_PORT")
    mlflow_port: Port = Field(default=5000, validation_alias="MLFLOW_PORT")
    serve_port: Port = Field(default=8000, validation_alias="SERVE_PORT")
    serve: bool = Field(default=True, validation_alias="SERVE")
    join: bool = Field(default=False, validation_alias="JOIN")
    serve_token: SecretStr = Field(default=SecretStr(""), validation_alias="MILLSTREAM_SERVE_TOKEN")
    concurrent_runs: Annotated[int, Field(ge=1)] = Field(
        default=2, validation_alias="MILLSTREAM_CONCURRENT_RUNS"
    )
    longest_run_hours: Annotated[float, Field(gt=0, le=1_000_000)] = Field(
        default=12.0, validation_alias="MILLSTREAM_LONGEST_RUN_HOURS"
    )
    notification_url: SecretStr | None = Field(
        default=None, validation_alias="MILLSTREAM_NOTIFICATION_URL"
    )
    download_limit: Annotated[int, Field(ge=1)] = Field(
        default=2**34, validation_alias="MILLSTREAM_DOWNLOAD_LIMIT"
    )
    unpack_limit: Annotated[int, Field(ge=1)] = Field(
        default=2**32, validation_alias="MILLSTREAM_UNPACK_LIMIT"
    )
    project: Path = Field(
        default=REPOSITORY / "millstream.toml", validation_alias="MILLSTREAM_PROJECT"
    )
    runner: str = Field(default="threads", validation_alias="MILLSTREAM_RUNNER")
    netrc: Path | None = Field(default=None, validation_alias="NETRC")

    @field_validator("home", mode="before")
    @classmethod
    def _require_local_home(cls, home: str | Path) -> Path:
        return reachable_path("MILLSTREAM_HOME", str(home), "a folder on this machine")

    @field_validator("project", mode="before")
    @classmethod
    def _require_local_file(cls, project: str | Path) -> Path:
        path = local_path("MILLSTREAM_PROJECT", str(project), "a file on this machine")
        return absolute_path(path)

    @field_validator("explicit_tracking_uri")
    @classmethod
    def _refuse_password(cls, uri: str | None) -> str | None:
        # It appears in links, messages and command lines.
        if uri is not None and has_password(uri):
            raise ParameterError(
                f"MLFLOW_TRACKING_URI: {redact_url(uri)} has a password in it; expected that in "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or in the file of a "
                "database's driver"
            )
        return _check_http("MLFLOW_TRACKING_URI", uri) if uri and is_url(uri) else uri

    @field_validator("explicit_api_url")
    @classmethod
    def _require_api_url(cls, url: str | None) -> str | None:
        return url and _check_http("PREFECT_API_URL", url)

    @field_validator("ui_url")
    @classmethod
    def _require_ui_url(cls, url: str | None) -> str | None:
        return url and _check_http("PREFECT_UI_URL", url)

    @field_validator("allowed_origins")
    @classmethod
    def _require_origins(cls, origins: str | None) -> str | None:
        # Prefect's server is started by the process manager, whose log nobody reads at first.
        for origin in filter(None, map(str.strip, (origins or "").split(","))):
            if origin != "*" and not is_origin(origin):
                raise ParameterError(
                    f"PREFECT_SERVER_CORS_ALLOWED_ORIGINS: {redact_url(origin)!r} is no address of "
                    "a site; expected such as https://runs.example.org, separated by commas"
                )
        return origins

    @field_validator("host")
    @classmethod
    def _require_host(cls, host: str) -> str:
        if not is_host(host):
            raise ParameterError(
                f"MILLSTREAM_HOST: {redact_url(host)!r} is no name or address of this machine; "
                "expected such as 127.0.0.1, without scheme and port"
            )
        return host

    @field_validator("serve_token")
    @classmethod
    def _strip(cls, token: SecretStr) -> SecretStr:
        return SecretStr(token.get_secret_value().strip())  # a file of a secret ends with a newline

    @field_validator("notification_url")
    @classmethod
    def _require_url(cls, url: SecretStr | None) -> SecretStr | None:
        # It may hold a token, so it is not quoted.
        if url is not None and not _is_http(url.get_secret_value()):
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
        """The URL of MLflow's UI: on the configured server, or else on that of `make up`."""
        named = self.explicit_tracking_uri or ""
        if named.startswith(("http://", "https://")):
            return named.rstrip("/")
        return f"http://{self.reachable_host}:{self.mlflow_port}"

    @property
    def prefect_url(self) -> str:
        """The URL of the Prefect server of `make up`."""
        return f"http://{self.reachable_host}:{self.prefect_port}"

    @property
    def reachable_host(self) -> str:
        """The host part of a URL at which this machine reaches a server that listens on `host`."""
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
    def replay(self) -> Path:
        """The replay memory: features of texts that versions learn from again."""
        return self.root / "replay"

    @property
    def scored(self) -> Path:
        return self.root / "scored"

    @property
    def inbox(self) -> Path:
        return self.root / "inbox"

    @property
    def feedback(self) -> Path:
        return self.root / "feedback"

    @property
    def feedback_store(self) -> Path:
        return self.root / "feedback-store"

    @property
    def services(self) -> Path:
        return self.root / "services"

    @property
    def api_url_file(self) -> Path:
        return self.services / "api-url"

    @property
    def manager_socket(self) -> Path:
        """The Unix socket of the process manager of `make up`."""
        return self.services / "supervisor.sock"

    @property
    def prefect_home(self) -> Path:
        return self.root / "prefect"

    @property
    def root(self) -> Path:
        """`home` as an absolute path, so that a later change of folder cannot move it."""
        return self.home.expanduser().resolve()


def _is_http(url: str) -> bool:
    return is_url(url) and is_origin(url)


def _check_http(variable: str, url: str) -> str:
    if not _is_http(url):
        raise ParameterError(
            f"{variable}: {redact_url(url)!r} is no http(s) address; expected one such as "
            "http://127.0.0.1:4200"
        )
    return url


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
