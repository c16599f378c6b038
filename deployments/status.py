"""`python -m deployments.status`: what runs, where, since when, and whether it works."""

import sys
from datetime import UTC, datetime

from deployments.command import run
from deployments.services.health import answers
from deployments.services.supervisor import ProcessState, Supervisor
from tasks.common.settings import Settings, get_settings

EXIT_CODE = 1  # if anything does not work


def status() -> int:
    """Print a line a service and return the exit code."""
    return 0 if print_status(get_settings()) else EXIT_CODE


def print_status(settings: Settings) -> bool:
    """Print a line a service and return whether all of them work.

    Raises:
        MillstreamError: If the process manager ends meanwhile.
    """
    supervisor = Supervisor(settings)
    condition = supervisor.condition
    if condition != "up":
        said = {"down": "nothing is up", "ending": "all is being ended"}
        sys.stdout.write(f"{said[condition]}\n")
        return False
    works = True
    for service in supervisor.places:
        process = supervisor.state_of(service.name)
        healthy = answers(service, process, supervisor.api)
        works &= healthy
        state = "works" if healthy else f"{process.state.lower()}, does not answer"
        sys.stdout.write(f"{service.name:9}{state:9}{service.address:24}{_age(process)}\n")
    sys.stdout.write(f"logs are in {supervisor.logs}\n")
    return works


def _age(process: ProcessState) -> str:
    if not process.process:
        return "no process"
    since = datetime.fromtimestamp(process.since, UTC)
    return f"process {process.process}, since {since:%Y-%m-%d %H:%M:%S} UTC"


if __name__ == "__main__":
    sys.exit(run(status))
