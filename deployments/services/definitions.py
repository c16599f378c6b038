"""Definitions of the services of `make up`: command, environment, address and port."""

import hashlib
import socket
import sys
from dataclasses import dataclass
from urllib.parse import urlsplit

from tasks.common.errors import ParameterError
from tasks.common.settings import Settings
from tasks.common.urls import redact_url

PREFECT = "prefect"
MLFLOW = "mlflow"
WORKER = "worker"
SERVE = "serve"
POOL = "millstream"

_WORKERS = f"{POOL}-"

# That of online serving answers before a version is loaded: there may be no champion yet.
_HEALTH_PATHS = {PREFECT: "/api/health", MLFLOW: "/health", SERVE: "/version"}


@dataclass(frozen=True)
class ServiceAddress:
    """The name and address of a service.

    Attributes:
        name: As in the table of `make status` and the name of the log file.
        address: URL; empty if the service has none.
    """

    name: str
    address: str

    @property
    def health_url(self) -> str:
        """The URL that returns 200 if the service is healthy; empty if it has no address."""
        return self.address + _HEALTH_PATHS.get(self.name, "")


@dataclass(frozen=True)
class Service(ServiceAddress):
    """A long-lived process.

    Attributes:
        command: The program and its arguments.
        environment: Defaults of environment variables.
        port: The variable that sets its port, and the port; None if it listens on none.
    """

    command: tuple[str, ...]
    environment: dict[str, str]
    port: tuple[str, int] | None = None


def services_of(settings: Settings) -> tuple[Service, ...]:
    """Return the services in start order, without external servers that the environment names.

    A machine that only joins has a worker alone.
    """
    if settings.join:
        return (_worker(settings),)
    services = []
    if not uses_external_server(settings):
        services.append(prefect_server(settings))
    if settings.tracking_uri.startswith("sqlite:"):
        services.append(mlflow_server(settings))
    if settings.serve:
        services.append(_online_serving(settings))
    return (*services, _worker(settings))


def api_url(settings: Settings) -> str:
    """Return the address of Prefect's API: the configured one, or else that of `make up`."""
    return settings.explicit_api_url or f"{settings.prefect_url}/api"


def uses_external_server(settings: Settings) -> bool:
    """Return whether Prefect's server is not the one that `make up` starts here."""
    configured = urlsplit(api_url(settings))
    own_hosts = {settings.host, urlsplit(settings.prefect_url).hostname, "localhost"}
    return configured.hostname not in own_hosts or configured.port != settings.prefect_port


def prefect_server(settings: Settings) -> Service:
    """Return the server of Prefect's API and user interface."""
    return Service(
        name=PREFECT,
        address=settings.prefect_url,
        command=(
            *_python("deployments.server.prefect_server", "server", "start"),
            *("--host", settings.host, "--port", str(settings.prefect_port)),
        ),
        environment={
            # A path: the UI works at any address and port at which it is opened.
            "PREFECT_UI_API_URL": "/api",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            # Replaces the class of the formatter "standard" in Prefect's logging.yml.
            "PREFECT_LOGGING_FORMATTERS_STANDARD_": (
                "deployments.server.log_formatter.ServerFormatter"
            ),
            # For the links in notifications.
            "PREFECT_UI_URL": settings.prefect_url,
            "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "deployments.server.event_order",
            # Under PREFECT_HOME: leases in memory are lost at a restart, and a run ends when it
            # cannot renew the lease of its slot.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
                "prefect.server.concurrency.lease_storage.filesystem"
            ),
        },
        port=("PREFECT_PORT", settings.prefect_port),
    )


def mlflow_server(settings: Settings) -> Service:
    """Return the server of MLflow's API and user interface on the tracking database."""
    return Service(
        name=MLFLOW,
        address=f"http://{settings.reachable_host}:{settings.mlflow_port}",
        command=(
            *_python("mlflow", "server", "--workers", "1"),
            *("--host", settings.host, "--port", str(settings.mlflow_port)),
            *("--backend-store-uri", settings.tracking_uri),
            *("--artifacts-destination", settings.artifacts.as_uri()),
        ),
        # Its job runners are many processes, and unused here.
        environment={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        port=("MLFLOW_PORT", settings.mlflow_port),
    )


def worker_name(settings: Settings) -> str:
    """Return the worker's name on the Prefect server: one for each machine and state folder."""
    place = hashlib.sha256(str(settings.root).encode()).hexdigest()[:8]
    return f"{_WORKERS}{socket.gethostname()}-{place}"


def is_our_worker(name: str) -> bool:
    """Return whether the `make up` of any machine and state folder started the worker."""
    return name.startswith(_WORKERS)


def check_join(settings: Settings) -> None:
    """Check that a machine that joins has servers elsewhere.

    Raises:
        ParameterError: If it would start one, or have a registry of its own.
    """
    if not uses_external_server(settings):
        raise ParameterError(
            f"JOIN: beside Prefect's server at {api_url(settings)}; expected PREFECT_API_URL with "
            "the server of another machine"
        )
    if not settings.tracking_uri.startswith(("http://", "https://")):
        raise ParameterError(
            f"JOIN: beside MLflow at {redact_url(settings.tracking_uri)}; expected "
            "MLFLOW_TRACKING_URI with the http(s) address of the MLflow of those runs"
        )


def _online_serving(settings: Settings) -> Service:
    return Service(
        name=SERVE,
        address=f"http://{settings.reachable_host}:{settings.serve_port}",
        command=_python("deployments.serve"),
        environment={},
        port=("SERVE_PORT", settings.serve_port),
    )


def _worker(settings: Settings) -> Service:
    return Service(
        name=WORKER,
        address="",
        command=(
            *_python("prefect", "worker", "start"),
            *("--pool", POOL, "--type", "process", "--name", worker_name(settings)),
            *("--limit", str(settings.concurrent_runs)),
        ),
        # Prefect's default of 10 s delays the start of a run.
        environment={"PREFECT_WORKER_QUERY_SECONDS": "2"},
    )


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)
