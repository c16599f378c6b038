"""Which machine's deployments a shared Prefect server has, and what may join it."""

from contextlib import suppress
from typing import cast

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import VariableCreate, VariableUpdate
from prefect.client.schemas.objects import WorkerStatus
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.services.definitions import POOL, is_our_worker, worker_name
from tasks.common.errors import ParameterError
from tasks.common.settings import Settings

# Three heartbeats of a worker, after which the server takes it for stopped.
_OFFLINE_AFTER_S = 90

# A Prefect variable with the worker of the machine that registered the deployments.
_OWNER_VARIABLE = "millstream_owner"


def check_owner(client: SyncPrefectClient, api: str, settings: Settings) -> None:
    """Check that the deployments are not those of another folder, whose paths would be replaced.

    Raises:
        ParameterError: If they are, and its worker is online.
    """
    owner, own = _read_owner(client), worker_name(settings)
    with suppress(ObjectNotFound):  # no pool yet
        client.read_work_pool(POOL)
        for worker in client.read_workers_for_work_pool(POOL):
            # A server of an earlier version names no owner: nobody could join it.
            is_owner = worker.name == owner if owner else is_our_worker(worker.name)
            if is_owner and worker.name != own and worker.status == WorkerStatus.ONLINE:
                raise ParameterError(
                    f"PREFECT_API_URL: {api} has the deployments of another machine or state "
                    f"folder, with the worker {worker.name}; expected a server of its own, make "
                    f"down there {_OFFLINE_AFTER_S} s before, or make up JOIN=1 to take its runs"
                )


def take_ownership(client: SyncPrefectClient, settings: Settings) -> None:
    """Name this machine and state folder as the owner of the deployments."""
    owner = _read_owner(client)
    if not owner:
        client.create_variable(VariableCreate(name=_OWNER_VARIABLE, value=worker_name(settings)))
    elif owner != worker_name(settings):
        client.update_variable(VariableUpdate(name=_OWNER_VARIABLE, value=worker_name(settings)))


def check_joinable(api: str) -> None:
    """Check that a server has a pool whose runs a machine can take.

    Raises:
        ParameterError: If it has none.
    """
    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        try:
            client.read_work_pool(POOL)
        except ObjectNotFound:
            raise ParameterError(
                f"JOIN: {api} has no work pool {POOL}; expected the server of another machine "
                "that make up deployed to"
            ) from None


def _read_owner(client: SyncPrefectClient) -> str:
    variable = client.read_variable_by_name(_OWNER_VARIABLE)
    return cast("str", variable.value) if variable else ""
