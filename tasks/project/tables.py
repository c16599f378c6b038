"""The tables of the project file: schedules, and the servers of `make up`."""

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import field_validator

from tasks.common.parameter_types import FrozenModel, Positive
from tasks.common.settings import Port

# The variables of the settings that mean the same.
SERVER_VARIABLES = {
    "host": "MILLSTREAM_HOST",
    "prefect_port": "PREFECT_PORT",
    "mlflow_port": "MLFLOW_PORT",
    "serve_port": "SERVE_PORT",
    "concurrent_runs": "MILLSTREAM_CONCURRENT_RUNS",
}


class Schedules(FrozenModel):
    """When the schedules of `make up` start their runs.

    Attributes:
        nightly: Cron line of scoring the inbox.
        weekly_training: Cron line of the training.
        timezone: IANA name of the time zone of both.
    """

    nightly: str = "0 1 * * *"
    weekly_training: str = "0 3 * * 0"
    timezone: str = "Etc/UTC"

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(
                f"{name!r}; expected an IANA time zone, such as Europe/Berlin"
            ) from error
        return name


class Serve(FrozenModel):
    """The servers of `make up`. What is not given has the default of the settings.

    Attributes:
        host: Address that they listen on.
        prefect_port: Port of Prefect's server and UI.
        mlflow_port: Port of MLflow's server and UI.
        serve_port: Port of online serving.
        concurrent_runs: Runs that the worker has at a time.
    """

    host: str | None = None
    prefect_port: Port | None = None
    mlflow_port: Port | None = None
    serve_port: Port | None = None
    concurrent_runs: Positive | None = None
