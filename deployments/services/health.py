"""Health checks of the services, and the check for free ports."""

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

from deployments.services.definitions import POOL, WORKER, Service, ServiceAddress, worker_name
from deployments.services.supervisor import ProcessState, Supervisor
from tasks.common.errors import MillstreamError, ParameterError
from tasks.common.settings import Settings, get_settings

_START_TIMEOUT_S = 180  # a first start migrates new databases, which takes 20 s on two idle cores
_POLL_INTERVAL_S = 0.3
_REQUEST_TIMEOUT_S = 5
_LOG_LINES_SHOWN = 5
_MAX_STARTS = 3  # more are a crash loop


def check_ports(services: Sequence[Service], settings: Settings) -> None:
    """Check that the services can listen on their ports.

    Raises:
        ParameterError: If two have the same port, another process listens on one, or the address
            is not one of this machine.
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
            # As the servers do: without it, a port closed a minute ago cannot be bound.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, port))
            except OSError as error:
                raise ParameterError(
                    f"{variable}: {settings.host}:{port} cannot be listened on "
                    f"({error.strerror}{_describe_listener(port)}); expected a port that is free"
                ) from error


def wait_until_healthy(service: ServiceAddress, supervisor: Supervisor, api: str) -> None:
    """Wait until a service is healthy.

    Raises:
        MillstreamError: If it crashes repeatedly or the wait times out; with the last log lines.
    """
    deadline, starts = time.monotonic() + _START_TIMEOUT_S, set()
    while not is_healthy(service, process := supervisor.process_state(service.name), api):
        starts.add(process.since)
        has_failed = process.state == "FATAL" or len(starts) > _MAX_STARTS
        if has_failed or time.monotonic() > deadline:
            log = supervisor.log_of(service.name)
            raise MillstreamError(
                f"{service.name}: {process.state}, and does not answer; expected it to, see {log} "
                f"({_last_log_lines(supervisor, service.name)})"
            )
        time.sleep(_POLL_INTERVAL_S)


def is_healthy(service: ServiceAddress, process: ProcessState, api: str) -> bool:
    """Return whether a service is healthy: a server answers, a worker sends heartbeats.

    Args:
        service: The service.
        process: Its state by the process manager.
        api: Address of Prefect's API, which knows the heartbeats.
    """
    if process.state != "RUNNING":
        return False
    with suppress(httpx.HTTPError, PrefectHTTPStatusError):
        if service.name != WORKER:
            return httpx.get(service.health_url, timeout=_REQUEST_TIMEOUT_S).is_success
        with (
            temporary_settings({PREFECT_API_URL: api}),
            get_client(sync_client=True) as client,  # with Prefect's authentication
        ):
            workers = client.read_workers_for_work_pool(POOL)
        # The second name is that of a worker which an older version started.
        names = {worker_name(get_settings()), WORKER}
        own = [worker for worker in workers if worker.name in names]
        return any(_sent_heartbeat(worker, process.since) for worker in own)
    return False


def _sent_heartbeat(worker: Worker, since: int) -> bool:
    """Return whether a worker sent a heartbeat after `since`; a killed one stays ONLINE a while."""
    seen = worker.last_heartbeat_time
    return worker.status == WorkerStatus.ONLINE and seen is not None and seen.timestamp() >= since


def _describe_listener(port: int) -> str:
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,)
            if listens and connection.pid:
                return f": process {connection.pid}, {psutil.Process(connection.pid).name()}"
    return ""


def _last_log_lines(supervisor: Supervisor, service: str) -> str:
    log = supervisor.log_of(service)
    if not log.is_file():
        return "no output"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return " | ".join(line.strip() for line in lines[-_LOG_LINES_SHOWN:] if line.strip())
