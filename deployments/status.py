"""`python -m deployments.status`: what runs, where, since when, and whether it works."""

import sys
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from deployments.health import answers
from deployments.services import api_url, services_of
from deployments.supervision import Supervisor
from tasks.settings import Settings, get_settings

EXIT_CODE = 1  # if anything does not work


def print_status(settings: Settings) -> bool:
    """Print a table of the services and return whether all of them work."""
    supervisor = Supervisor(settings)
    if not supervisor.is_running:
        sys.stdout.write("nothing is up\n")
        return False
    api, works = api_url(settings), True
    table = Table("service", "state", "process", "since", "address", "log")
    for service in services_of(settings):
        process = supervisor.state_of(service.name)
        healthy = answers(service, process, api)
        works &= healthy
        since = datetime.fromtimestamp(process.since, UTC).isoformat(" ", "seconds")
        table.add_row(
            service.name,
            "works" if healthy else f"{process.state.lower()}, does not answer",
            str(process.process or ""),
            since if process.process else "",
            service.address,
            str(supervisor.log_of(service.name)),
        )
    Console(soft_wrap=True).print(table)
    return works


if __name__ == "__main__":
    sys.exit(0 if print_status(get_settings()) else EXIT_CODE)
