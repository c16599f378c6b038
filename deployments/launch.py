"""`python -m deployments.launch NAME`: end leftover processes of a service, then exec it.

The process manager runs this. A killed server may leave a child that still has its port.
"""

import os
import sys

from deployments.services.definitions import WORKER, api_url, services_of
from deployments.services.processes import MARK, end_processes, leftover_processes, mark_of
from tasks.common.environment import environment_with
from tasks.common.settings import get_settings


def main() -> None:
    """Replace this process by the service that the command line names."""
    settings = get_settings()
    service = next(found for found in services_of(settings) if found.name == sys.argv[1])
    if service.name != WORKER:  # runs survive a killed worker
        end_processes(leftover_processes(settings, service.name))
    environment = service.environment | environment_with(
        {MARK: mark_of(settings, service.name), "PREFECT_API_URL": api_url(settings)}
    )
    os.execve(service.command[0], service.command, environment)  # noqa: S606 -- no shell


if __name__ == "__main__":
    main()
