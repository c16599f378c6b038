"""`python -m deployments.status`: health, address and start time of each service."""

import sys
from datetime import UTC, datetime

from deployments.command import run_command
from deployments.services.health import is_healthy
from deployments.services.supervisor import ProcessState, Supervisor
from tasks.common.settings import Settings, get_settings
from tasks.common.text import printable

UNHEALTHY = 1  # the exit code if a service does not work, or all are being ended
NOTHING_UP = 3  # and where nothing is up, as `systemctl status` has it


def status() -> int:
    """Print a line a service and return the exit code."""
    return print_status(get_settings())


def print_status(settings: Settings) -> int:
    """Print a line a service and return the exit code: 0 if all of them are healthy.

    Raises:
        MillstreamError: If the process manager stops meanwhile.
    """
    supervisor = Supervisor(settings)
    if (state := supervisor.state) == "down":
        sys.stdout.write(f"nothing is up in {printable(str(settings.root))}; `make up` starts it\n")
        return NOTHING_UP
    if state == "ending":
        sys.stdout.write("all is being ended\n")
        return UNHEALTHY
    works = True
    for service in supervisor.addresses:
        process = supervisor.process_state(service.name)
        healthy = is_healthy(service, process, supervisor.api)
        works &= healthy
        text = "works" if healthy else f"{process.state.lower()}, does not answer"
        sys.stdout.write(f"{service.name:9}{text:9}{service.address:24}{_age(process)}\n")
    sys.stdout.write(f"logs are in {supervisor.logs}\n")
    return 0 if works else UNHEALTHY


def _age(process: ProcessState) -> str:
    if not process.process:
        return "no process"
    since = datetime.fromtimestamp(process.since, UTC)
    return f"process {process.process}, since {since:%Y-%m-%d %H:%M:%S} UTC"


if __name__ == "__main__":
    sys.exit(run_command(status))
