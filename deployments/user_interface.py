"""`python -m deployments.user_interface mlflow`, or `prefect`: serve one of them until Ctrl-C."""

import argparse
import os
import sys
from dataclasses import replace
from urllib.parse import urlsplit

from deployments.command import run_command
from deployments.services.definitions import (
    MLFLOW,
    PREFECT,
    Service,
    mlflow_server,
    prefect_server,
)
from deployments.services.health import check_ports
from deployments.services.supervisor import Supervisor
from tasks.common.environment import check_environment, environment_with
from tasks.common.errors import ParameterError
from tasks.common.settings import Settings, get_settings
from tasks.tracking.location import check_location


def serve_user_interface() -> None:
    """Become the server that the command line names; with that of `make up`, print its address.

    Raises:
        ParameterError: If a variable is wrong, the port is in use, or MLflow is a server elsewhere.
    """
    parser = argparse.ArgumentParser(description="Serve one user interface until Ctrl-C.")
    parser.add_argument("name", choices=(MLFLOW, PREFECT))
    name = parser.parse_args().name
    check_environment()
    settings = get_settings()
    check_location(settings)
    supervisor = Supervisor(settings)
    for known in supervisor.addresses if supervisor.state == "up" else ():
        if known.name == name:
            sys.stdout.write(f"{known.address} (of make up, which runs)\n")
            return
    service = _prefect_alone(settings) if name == PREFECT else _mlflow_here(settings)
    check_ports((service,), settings)
    sys.stdout.write(f"{service.address} (Ctrl-C ends it)\n")
    sys.stdout.flush()
    environment = service.environment | environment_with({})
    os.execve(service.command[0], service.command, environment)  # noqa: S606 -- no shell


def _prefect_alone(settings: Settings) -> Service:
    server = prefect_server(settings)
    return replace(server, command=(*server.command, "--no-services"))  # no schedules


def _mlflow_here(settings: Settings) -> Service:
    if urlsplit(settings.tracking_uri).scheme in ("http", "https"):
        raise ParameterError(
            f"MLFLOW_TRACKING_URI: {settings.tracking_uri} is a server, which has its own user "
            "interface; expected a database"
        )
    return mlflow_server(settings)


if __name__ == "__main__":
    sys.exit(run_command(serve_user_interface))
