"""The services that `make up` runs, and how each is started."""

import sys
from dataclasses import dataclass
from urllib.parse import urlsplit

from tasks.common.settings import Settings

PREFECT = "prefect"
MLFLOW = "mlflow"
WORKER = "worker"
POOL = "millstream"

_HEALTH = {PREFECT: "/api/health", MLFLOW: "/health"}


@dataclass(frozen=True)
class Place:
    """Where a service is.

    Attributes:
        name: What it is called in the table, and its log file after.
        address: Where people find it; empty if it has no address.
    """

    name: str
    address: str

    @property
    def health(self) -> str:
        """The URL that answers with 200 when it works; empty if it has none."""
        return self.address + _HEALTH.get(self.name, "")


@dataclass(frozen=True)
class Service(Place):
    """A long-lived process.

    Attributes:
        command: The program and its arguments.
        environment: Variables that it gets where they are not set.
        port: The port that it listens on, and the variable that moves it; none if it does not.
    """

    command: tuple[str, ...]
    environment: dict[str, str]
    port: tuple[str, int] | None = None


def services_of(settings: Settings) -> tuple[Service, ...]:
    """Return the services in the order in which they start.

    A server that the environment names elsewhere is used and not started here.
    """
    found = []
    if not _is_elsewhere(settings):
        found.append(_prefect_server(settings))
    if settings.tracking_uri.startswith("sqlite:"):
        found.append(_mlflow_server(settings))
    return (*found, _worker())


def api_url(settings: Settings) -> str:
    """Return the address of Prefect's API: that of the server named, else that of `make up`."""
    return settings.explicit_api_url or f"{settings.prefect_url}/api"


def _is_elsewhere(settings: Settings) -> bool:
    named = urlsplit(api_url(settings))
    own = {settings.host, urlsplit(settings.prefect_url).hostname, "localhost"}
    return named.hostname not in own or named.port != settings.prefect_port


def _prefect_server(settings: Settings) -> Service:
    return Service(
        name=PREFECT,
        address=settings.prefect_url,
        command=(
            *_python("deployments.server.prefect_server", "server", "start"),
            *("--host", settings.host, "--port", str(settings.prefect_port)),
        ),
        environment={
            # A path, not an address: the UI then works at whatever address and port it is opened.
            "PREFECT_UI_API_URL": "/api",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            # Replaces the class of the formatter "standard" in Prefect's logging.yml.
            "PREFECT_LOGGING_FORMATTERS_STANDARD_": (
                "deployments.server.log_formatter.ServerFormatter"
            ),
            # For the links in notifications.
            "PREFECT_UI_URL": settings.prefect_url,
            "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "deployments.server.event_order",
            # Under PREFECT_HOME; kept in memory, they would go with the server, and a run ends
            # when it cannot renew the lease of its slot.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
                "prefect.server.concurrency.lease_storage.filesystem"
            ),
        },
        port=("PREFECT_PORT", settings.prefect_port),
    )


def _mlflow_server(settings: Settings) -> Service:
    return Service(
        name=MLFLOW,
        address=f"http://{settings.reachable_host}:{settings.mlflow_port}",
        command=(
            *_python("mlflow", "server", "--workers", "1"),
            *("--host", settings.host, "--port", str(settings.mlflow_port)),
            *("--backend-store-uri", settings.tracking_uri),
            *("--artifacts-destination", settings.artifacts.as_uri()),
        ),
        # Its job runners would add a crowd of processes, and nothing here uses them.
        environment={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        port=("MLFLOW_PORT", settings.mlflow_port),
    )


def _worker() -> Service:
    return Service(
        name=WORKER,
        address="",
        command=(
            *_python("prefect", "worker", "start"),
            *("--pool", POOL, "--type", "process", "--name", WORKER),
        ),
        environment={
            # A run takes seconds to start as it is.
            "PREFECT_WORKER_QUERY_SECONDS": "2",
        },
    )


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)
