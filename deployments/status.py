"""`python -m deployments.status`: what runs, where, since when, and whether it works."""

import sys
from datetime import UTC, datetime
from urllib.parse import urlsplit

from deployments.errors_shown import run
from deployments.health import answers
from deployments.services import api_url, services_of
from deployments.supervision import Supervisor
from tasks.settings import Settings, get_settings

EXIT_CODE = 1  # if anything does not work


def print_status(settings: Settings) -> bool:
    """Print a line a service and return whether all of them work."""
    supervisor = Supervisor(settings)
    if not supervisor.is_running:
        sys.stdout.write("nothing is up\n")
        return False
    api, works = settings.running_api_url or api_url(settings), True
    for service in services_of(_as_started(settings, supervisor)):
        process = supervisor.state_of(service.name)
        healthy = answers(service, process, api)
        works &= healthy
        state = "works" if healthy else f"{process.state.lower()}, does not answer"
        since = datetime.fromtimestamp(process.since, UTC)
        sys.stdout.write(
            f"{service.name:9}{state:9}{service.address:24}"
            f"process {process.process}, since {since:%Y-%m-%d %H:%M:%S} UTC\n"
        )
    sys.stdout.write(f"logs are in {supervisor.logs}\n")
    return works


def _as_started(settings: Settings, supervisor: Supervisor) -> Settings:
    """Return the settings with the ports of what is up; the variables may say others by now."""
    places = {name: urlsplit(address) for name, address in supervisor.addresses.items()}
    ports = {f"{name}_port": place.port for name, place in places.items() if place.port}
    return settings.model_copy(update=ports)


def status() -> int:
    """Print the status and return the exit code."""
    return 0 if print_status(get_settings()) else EXIT_CODE


if __name__ == "__main__":
    sys.exit(run(status))
