"""Check the parameter `runner`, and that servers are shared with what it names."""

from importlib.util import find_spec
from urllib.parse import urlsplit

from prefect.settings import PREFECT_API_URL

from tasks.common.errors import ParameterError
from tasks.common.settings import get_settings
from tasks.common.urls import is_loopback, redact_url
from tasks.scoring.types import THREADS

_EXPECTED = "expected threads, tcp://127.0.0.1:8786 or tls://host:8786, without a path"


def resolve_runner(runner: str) -> str:
    """Return what scores shards: `threads`, or the address of a scheduler.

    Args:
        runner: The parameter; empty takes `MILLSTREAM_RUNNER`.

    Raises:
        ParameterError: If it is neither.
    """
    name = "runner" if runner else "MILLSTREAM_RUNNER"
    runner = runner or get_settings().runner
    check_runner(runner, name)
    return runner


def check_runner(runner: str, parameter: str = "runner") -> None:
    """Check the form of a runner.

    Raises:
        ParameterError: If it is neither `threads` nor the address of a scheduler, or an address
            beyond this machine that is not encrypted: a task carries the settings of Prefect.
    """
    if runner == THREADS:
        return
    try:
        place = urlsplit(runner)
        is_address = bool(place.hostname and place.port)
    except ValueError:
        is_address = False
    if not is_address or place.scheme not in {"tcp", "tls"} or place.netloc != runner[6:]:
        raise ParameterError(f"{parameter}: {redact_url(runner)!r}; {_EXPECTED}")
    if "@" in place.netloc:
        raise ParameterError(f"{parameter}: {redact_url(runner)!r} has a login; {_EXPECTED}")
    if place.scheme == "tcp" and not is_loopback(place.hostname or ""):
        raise ParameterError(
            f"{parameter}: {runner} is not encrypted, and tasks carry the settings of Prefect; "
            f"expected tls://{place.netloc}"
        )


def check_shared_services(runner: str) -> None:
    """Check that the workers of a cluster can reach the MLflow and Prefect of this process.

    Args:
        runner: The parameter, of any kind; threads need nothing.

    Raises:
        ParameterError: If MLflow is a file or a database here, Prefect's server is one for this run
            alone, or the packages of a cluster are not installed.
    """
    runner = resolve_runner(runner)
    if runner == THREADS:
        return
    settings = get_settings()
    uri = settings.tracking_uri
    if not uri.startswith(("http://", "https://")):
        raise ParameterError(
            f"MLFLOW_TRACKING_URI: {redact_url(uri)} beside runner {runner}; expected the http(s) "
            "address of an MLflow server that its workers reach"
        )
    if not PREFECT_API_URL.value():
        raise ParameterError(
            f"PREFECT_API_URL: missing beside runner {runner}; expected the address of a Prefect "
            "server that its workers reach"
        )
    if find_spec("prefect_dask") is None:
        raise ParameterError(
            f"runner: {runner} needs Dask; expected the result of pip install --constraint "
            "constraints.txt --group cluster"
        )
