"""`python -m deployments.up`: start the servers and a worker, and register the deployments."""

import sys

from deployments import check_config
from deployments.command import run_command
from deployments.server.ownership import check_joinable
from deployments.server.registration import register_deployments
from deployments.services.definitions import (
    PREFECT,
    WORKER,
    Service,
    api_url,
    check_join,
    services_of,
)
from deployments.services.exposure import check_serve_token
from deployments.services.health import check_ports, wait_until_healthy
from deployments.services.lock import services_lock
from deployments.services.processes import end_processes, leftover_processes
from deployments.services.supervisor import Supervisor
from deployments.status import print_status
from tasks.cluster.addresses import resolve_runner
from tasks.common.environment import check_environment
from tasks.common.errors import MillstreamError, ParameterError
from tasks.common.settings import Settings, get_settings
from tasks.project.project import get_project
from tasks.tracking.location import check_location


def up() -> None:
    """Start the services, wait until they are healthy, and print their addresses.

    With JOIN=1 a worker alone is started, for the runs of another machine's deployments.

    After an error or Ctrl-C, the services are stopped again.

    Raises:
        MillstreamError: If the configuration is invalid, a port is in use, or a service fails.
    """
    check_environment()
    resolve_runner("")
    settings = get_settings()
    check_location(settings)
    if settings.join:
        check_join(settings)
    elif settings.serve:
        check_serve_token(settings)
    _say("checking prefect.yaml")
    check_config.check_prefect_file()
    with services_lock(settings):
        _bring_up(settings)


def _bring_up(settings: Settings) -> None:
    supervisor = Supervisor(settings)
    services, api = services_of(settings), api_url(settings)
    if supervisor.state == "up":
        _check_addresses(supervisor, services, api)
        _start_services(supervisor, settings)
        return
    supervisor.stop()  # or wait for its end
    for ended in end_processes(leftover_processes(settings)):
        sys.stderr.write(f"ended what was left from before: process {ended}\n")
    check_ports(services, settings)
    get_project().inbox_folder.mkdir(parents=True, exist_ok=True)
    _say("opening MLflow's database")
    _create_databases()
    _say("starting the process manager")
    try:
        supervisor.start(services, api)
        _start_services(supervisor, settings)
    except BaseException:
        supervisor.stop()
        end_processes(leftover_processes(settings))  # as a manager that does not answer yet
        raise


def _start_services(supervisor: Supervisor, settings: Settings) -> None:
    api = supervisor.api
    servers = [service for service in supervisor.addresses if service.name != WORKER]
    for service in servers:
        _say(f"starting {service.name}")
        supervisor.start_service(service.name)
    # The worker needs its pool, and the pool Prefect's server; that of MLflow starts meanwhile.
    for service in servers:
        if service.name == PREFECT:
            wait_until_healthy(service, supervisor, api)
    if settings.join:
        check_joinable(api)
    else:
        _say("deploying the flows of prefect.yaml")
        register_deployments(api, settings)
    _say(f"starting {WORKER}")
    supervisor.start_service(WORKER)
    for service in supervisor.addresses:
        _say(f"waiting until {service.name} answers")
        wait_until_healthy(service, supervisor, api)
    # Commands in this state folder now use this server.
    settings.api_url_file.write_text(api, encoding="utf-8")
    print_status(settings)


def _say(step: str) -> None:
    """Print a step that begins; the table at the end is the result, on standard output."""
    sys.stderr.write(f"{step}\n")


def _check_addresses(supervisor: Supervisor, services: tuple[Service, ...], api: str) -> None:
    wanted = {"api": api} | {service.name: service.address for service in services}
    found = {"api": supervisor.api} | {known.name: known.address for known in supervisor.addresses}
    if wanted != found:
        raise ParameterError(
            f"what is up has {_list_addresses(found)}; wanted are {_list_addresses(wanted)}; "
            "expected the same, or make down before"
        )


def _list_addresses(addresses: dict[str, str]) -> str:
    return ", ".join(f"{name} at {address}" for name, address in addresses.items() if address)


def _create_databases() -> None:
    """Create MLflow's database before several processes would at once.

    Raises:
        MillstreamError: If the database is of another version of MLflow.
    """
    from mlflow.exceptions import MlflowException

    from tasks.tracking.mlflow_client import connect

    try:
        connect()
    except MlflowException as error:
        raise MillstreamError(f"mlflow: {error.message} (docs/upgrade.md)") from error


if __name__ == "__main__":
    sys.exit(run_command(up))
