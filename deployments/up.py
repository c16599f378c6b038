"""`python -m deployments.up`: start the servers and a worker, and register all there is to run."""

import sys

from deployments import check_config
from deployments.command import run
from deployments.server.registration import register
from deployments.services.definitions import WORKER, Service, api_url, services_of
from deployments.services.health import check_ports, wait_until_healthy
from deployments.services.lock import services_lock
from deployments.services.processes import end, leftovers
from deployments.services.supervisor import Supervisor
from deployments.status import print_status
from tasks.common.environment import check_home
from tasks.common.errors import MillstreamError, ParameterError
from tasks.common.settings import Settings, get_settings


def up() -> None:
    """Start what does not run yet, wait until all of it works, and tell where it is.

    What was started is ended again if anything fails on the way, or Ctrl-C is pressed.

    Raises:
        MillstreamError: If the configuration is wrong, a port is taken, or a service does not work.
    """
    check_home()
    check_config.check()
    settings = get_settings()
    with services_lock(settings):
        _up(settings)


def _up(settings: Settings) -> None:
    supervisor = Supervisor(settings)
    services, api = services_of(settings), api_url(settings)
    if supervisor.condition == "up":
        _check_addresses(supervisor, services, api)
        _make_work(supervisor, settings)
        return
    supervisor.stop()  # one that is still ending is waited for
    _end_leftovers(settings)
    check_ports(services, settings)
    settings.inbox.mkdir(exist_ok=True)
    _make_databases()
    try:
        supervisor.start(services, api)
        _make_work(supervisor, settings)
    except BaseException:
        supervisor.stop()
        end(list(leftovers(settings)))  # as a manager that does not answer yet
        raise


def _make_work(supervisor: Supervisor, settings: Settings) -> None:
    api = supervisor.api
    for service in supervisor.places:
        if service.name == WORKER:  # it needs its pool, and that a server
            register(api, settings)
        supervisor.start_service(service.name)
        wait_until_healthy(service, supervisor, api)
    # From now on, commands run in this state folder use this server.
    settings.api_url_file.write_text(api, encoding="utf-8")
    print_status(settings)


def _check_addresses(supervisor: Supervisor, services: tuple[Service, ...], api: str) -> None:
    wanted = {"api": api} | {service.name: service.address for service in services}
    found = {"api": supervisor.api} | {place.name: place.address for place in supervisor.places}
    if wanted != found:
        raise ParameterError(
            f"what is up has {_in_words(found)}; wanted are {_in_words(wanted)}; "
            "expected the same, or make down before"
        )


def _in_words(addresses: dict[str, str]) -> str:
    return ", ".join(f"{name} at {address}" for name, address in addresses.items() if address)


def _end_leftovers(settings: Settings) -> None:
    for ended in end(list(leftovers(settings))):
        sys.stderr.write(f"ended what was left from before: process {ended}\n")


def _make_databases() -> None:
    """Make MLflow's database, which several processes must not do at once.

    Raises:
        MillstreamError: If it is there and of another version of MLflow.
    """
    from mlflow.exceptions import MlflowException

    from tasks.tracking.mlflow_client import connect

    try:
        connect()
    except MlflowException as error:
        raise MillstreamError(f"mlflow: {error.message} (docs/upgrade.md)") from error


if __name__ == "__main__":
    sys.exit(run(up))
