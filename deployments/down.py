"""`python -m deployments.down`: stop the services that `deployments.up` started."""

import sys

from deployments.command import run_command
from deployments.services.lock import services_lock
from deployments.services.processes import end_processes, leftover_processes
from deployments.services.supervisor import Supervisor
from tasks.common.environment import check_home
from tasks.common.settings import get_settings


def down() -> None:
    """Stop the worker with its runs, then the servers; print the leftover processes ended.

    A stopped run counts as crashed; its published shards stay, and a new run resumes.

    Raises:
        ParameterError: If the state folder cannot be written.
    """
    check_home()
    settings = get_settings()
    with services_lock(settings):
        supervisor = Supervisor(settings)
        was_running = supervisor.state != "down"
        supervisor.stop()
        rest = end_processes(leftover_processes(settings))
    for ended in rest:
        sys.stderr.write(f"ended what was left: process {ended}\n")
    sys.stdout.write("all is down\n" if was_running or rest else "nothing was up\n")


if __name__ == "__main__":
    sys.exit(run_command(down))
