"""`python -m deployments.launch NAME`: become a service, once nothing of it is left from before.

The process manager starts services by this. A server that was killed may leave a child on its
port, with which a new one could not start.
"""

import os
import sys

from deployments.services.definitions import WORKER, api_url, services_of
from deployments.services.processes import MARK, end, leftovers, mark_of
from tasks.common.environment import environment_with
from tasks.common.settings import get_settings


def main() -> None:
    """Replace this process by the service that the command line names."""
    settings = get_settings()
    service = next(found for found in services_of(settings) if found.name == sys.argv[1])
    if service.name != WORKER:  # the runs of a worker that was killed go on without it
        end(list(leftovers(settings, service.name)))
    environment = service.environment | environment_with(
        {MARK: mark_of(settings, service.name), "PREFECT_API_URL": api_url(settings)}
    )
    os.execve(service.command[0], service.command, environment)  # noqa: S606 -- no shell


if __name__ == "__main__":
    main()
