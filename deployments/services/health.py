"""Whether the services answer, and whether their ports are free."""

import socket
import time
from collections.abc import Sequence
from contextlib import suppress

import httpx
import psutil
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import Worker, WorkerStatus
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.services.definitions import POOL, WORKER, Place, Service
from deployments.services.supervisor import ProcessState, Supervisor
from tasks.common.errors import MillstreamError, ParameterError
from tasks.common.settings import Settings

_PATIENCE_S = 180  # a first start migrates new databases, which takes 20 s on two idle cores
_PAUSE_S = 0.3
_ANSWER_S = 5
_LAST_LINES = 5
_STARTS = 3  # one that ends again and again will go on to


def check_ports(services: Sequence[Service], settings: Settings) -> None:
    """Make sure that the services can listen.

    Raises:
        ParameterError: If two have the same port, something else listens on one, or the address is
            not this machine's.
    """
    taken: dict[int, str] = {}
    for service in services:
        if service.port is None:
            continue
        variable, port = service.port
        if port in taken:
            raise ParameterError(f"{variable}: {port} is {taken[port]} as well; expected another")
        taken[port] = variable
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        with socket.socket(family) as probe:
            # As the servers do; else a port that was left a minute ago counts as taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, port))
            except OSError as error:
                raise ParameterError(
                    f"{variable}: {settings.host}:{port} cannot be listened on "
                    f"({error.strerror}{_listener(port)}); expected a port that is free"
                ) from error


def wait_until_healthy(service: Place, supervisor: Supervisor, api: str) -> None:
    """Wait until a service answers.

    Raises:
        MillstreamError: If it ends again and again, or does not answer in time, with the last
            lines of its log.
    """
    deadline, starts = time.monotonic() + _PATIENCE_S, set()
    while not answers(service, process := supervisor.state_of(service.name), api):
        starts.add(process.since)
        ends = process.state == "FATAL" or len(starts) > _STARTS
        if ends or time.monotonic() > deadline:
            log = supervisor.log_of(service.name)
            raise MillstreamError(
                f"{service.name}: {process.state}, and does not answer; expected it to, see {log} "
                f"({_end_of(supervisor, service.name)})"
            )
        time.sleep(_PAUSE_S)


def answers(service: Place, process: ProcessState, api: str) -> bool:
    """Return whether a service works now: a server by its answer, a worker by its heartbeat.

    Args:
        service: The service.
        process: What the process manager says of it.
        api: Address of Prefect's API, which gets the heartbeats.
    """
    if process.state != "RUNNING":
        return False
    with suppress(httpx.HTTPError, PrefectHTTPStatusError):
        if service.name != WORKER:
            return httpx.get(service.health, timeout=_ANSWER_S).is_success
        with (
            temporary_settings({PREFECT_API_URL: api}),
            get_client(sync_client=True) as client,  # it knows the password, if there is one
        ):
            workers = client.read_workers_for_work_pool(POOL)
        return any(_was_seen(worker, process.since) for worker in workers)
    return False


def _was_seen(worker: Worker, since: int) -> bool:
    """Return whether a worker sent a heartbeat after `since`; a killed one counts for a while."""
    seen = worker.last_heartbeat_time
    return worker.status == WorkerStatus.ONLINE and seen is not None and seen.timestamp() >= since


def _listener(port: int) -> str:
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,)
            if listens and connection.pid:
                return f": process {connection.pid}, {psutil.Process(connection.pid).name()}"
    return ""


def _end_of(supervisor: Supervisor, service: str) -> str:
    log = supervisor.log_of(service)
    if not log.is_file():
        return "no output"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return " | ".join(line.strip() for line in lines[-_LAST_LINES:] if line.strip())
