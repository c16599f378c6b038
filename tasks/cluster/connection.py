"""Connect to a Dask cluster, and check its workers before they score."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex

from cloudpickle import register_pickle_by_value, unregister_pickle_by_value
from distributed import Security
from prefect.context import FlowRunContext
from prefect_dask.client import PrefectDaskClient

from tasks.cluster.roster import Roster
from tasks.cluster.source_digest import source_digest
from tasks.cluster.types import WorkerCheck
from tasks.cluster.worker import TOKEN
from tasks.common.errors import ClusterError
from tasks.common.files import unique_name
from tasks.common.settings import get_settings
from tasks.output.folder import output_errors
from tasks.scoring.task_runner import staging_removed
from tasks.scoring.types import ScoringParameters
from tasks.staging.leases import grant_lease

_CONNECT_TIMEOUT_S = 10


def check_workers(runner: str, parameters: ScoringParameters) -> tuple[str, ...]:
    """Check the workers of a cluster, and return why some of them may not score.

    Args:
        runner: The address of the scheduler.
        parameters: How they are to score; this process holds the output folder.

    Raises:
        ClusterError: If the scheduler does not answer, or no worker may score.
        OutputError: If the output folder cannot be written.
    """
    with connected(runner) as client, staging_removed(parameters.output_dir):
        roster = checked_roster(client, parameters)
        roster.wait_for_reports()
        return tuple(sorted(roster.refused.values()))


@contextmanager
def connected(runner: str) -> Iterator[PrefectDaskClient]:
    """Yield a client; tasks that it submitted are taken back at the end of the block.

    Args:
        runner: The address of the scheduler.

    Raises:
        ClusterError: If it does not answer.
    """
    try:
        _check_certificates(runner)
        client = PrefectDaskClient(runner, timeout=_CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, TimeoutError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"runner: no scheduler answers at {runner} ({type(error).__name__}: {error}); expected "
            "that of a Dask cluster"
        ) from error
    with client, _flow_by_value():
        yield client


@contextmanager
def _flow_by_value() -> Iterator[None]:
    """Let tasks carry the flow itself instead of the name of its module.

    Prefect loads the flow of a deployment from its file, as a module that workers cannot import.
    """
    context = FlowRunContext.get()
    if context is None or context.flow is None:
        yield
        return
    module = sys.modules[context.flow.fn.__module__]
    register_pickle_by_value(module)
    try:
        yield
    finally:
        unregister_pickle_by_value(module)


def _check_certificates(runner: str) -> None:
    """Check that Dask finds certificates; its client would fail later, with a traceback.

    Raises:
        ClusterError: If it finds none.
        OSError: If one cannot be read.
    """
    if runner.startswith("tls:") and not Security().get_connection_args("client")["ssl_context"]:
        raise ClusterError(
            f"runner: {runner} needs certificates; expected them in "
            "DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__TLS__CLIENT__CERT and …__TLS__CLIENT__KEY"
        )


def checked_roster(client: PrefectDaskClient, parameters: ScoringParameters) -> Roster:
    """Return the workers of a cluster, of which one at least may score.

    Args:
        client: Connected to the scheduler.
        parameters: How they are to score; this process holds the output folder.

    Raises:
        ClusterError: If no worker may score.
        OutputError: If the output folder cannot be written.
    """
    lease, token = grant_lease(parameters.output_dir, f"check-{unique_name()}"), token_hex()
    with output_errors(parameters.output_dir):
        (lease / TOKEN).write_text(token, encoding="utf-8")
    check = WorkerCheck(
        source_digest=source_digest(),
        tracking_uri=get_settings().tracking_uri,
        parameters=parameters,
        lease=lease,
        token=token,
    )
    roster = Roster(client, check)
    roster.wait_for_workers()
    return roster
