"""`python -m deployments.user_interface mlflow`, or `prefect`: serve one of them until Ctrl-C."""

import argparse
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
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

_POLL_INTERVAL_S = 0.1
_STOP_TIMEOUT_S = 10


def serve_user_interface() -> int:
    """Run the server that the command line names; with that of `make up`, print its address.

    Returns:
        The exit code: 0 after Ctrl-C.

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
            return 0
    service = _prefect_alone(settings) if name == PREFECT else _mlflow_here(settings)
    check_ports((service,), settings)
    sys.stdout.write(f"{service.address} (Ctrl-C ends it)\n")
    sys.stdout.flush()
    return serve(service)


def serve(service: Service) -> int:
    """Run a server until it ends, or until a signal ends this process; none of its processes stays.

    Returns:
        The exit code: that of the server, 0 after Ctrl-C, or 128 and the number of another signal.
    """
    received: list[int] = []
    # Nothing is raised: that would interrupt the start of the server, and leave it behind.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: received.append(number))
    # A group of its own: at Ctrl-C, the servers would print tracebacks of their own.
    server = subprocess.Popen(
        service.command,
        env=service.environment | environment_with({}),
        stdin=subprocess.DEVNULL,
        process_group=0,
    )
    while server.poll() is None and not received:
        time.sleep(_POLL_INTERVAL_S)
    _end_group(server)
    if not received:
        return server.returncode
    return 0 if received[0] == signal.SIGINT else 128 + received[0]


def _end_group(server: "subprocess.Popen[bytes]") -> None:
    """End a server and the processes that it has started."""
    with suppress(ProcessLookupError):  # all have ended
        os.killpg(server.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            server.wait(_STOP_TIMEOUT_S)
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


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
