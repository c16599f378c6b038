"""`python -m deployments.down`: end what `python -m deployments.up` started, and nothing else."""

import sys

from deployments.command import run
from deployments.services.lock import services_lock
from deployments.services.processes import end, leftovers
from deployments.services.supervisor import Supervisor
from tasks.common.environment import check_home
from tasks.common.settings import get_settings


def down() -> None:
    """End the worker with its runs, then the servers, and say what was ended by force.

    A run that is ended counts as crashed; what it published stays, and a new run goes on from
    there.

    Raises:
        ParameterError: If the state folder cannot be written.
    """
    check_home()
    settings = get_settings()
    with services_lock(settings):
        supervisor = Supervisor(settings)
        was_running = supervisor.condition != "down"
        supervisor.stop()
        rest = end(list(leftovers(settings)))
    for ended in rest:
        sys.stderr.write(f"ended what was left: process {ended}\n")
    sys.stdout.write("all is down\n" if was_running or rest else "nothing was up\n")


if __name__ == "__main__":
    sys.exit(run(down))
