"""What became of the task of a group, and its end in Prefect if its worker cannot report it."""

import logging
from typing import Any

import httpx
from distributed import Future, KilledWorker
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Crashed

from tasks.cluster.shard_groups import Group
from tasks.common.errors import ClusterError, MillstreamError, UnexpectedError

logger = logging.getLogger(__name__)


def task_result(group: Group, future: "Future[Any]") -> object:
    """Return what the task of a group returned, or why it failed.

    Any exception of Dask is returned: a callback would only log it.

    Args:
        group: The group.
        future: Its task, which ended.
    """
    if future.status == "finished":
        state: State[Any] = future.result()
        return state.result(raise_on_failure=False)
    error = future.exception() if future.status == "error" else None
    if isinstance(error, KilledWorker):
        lost: MillstreamError = ClusterError(
            f"{group.name}: worker {error.last_worker.name} was lost while it scored, as "
            f"{error.allowed_failures} before it; the next run scores it"
        )
    elif error is not None:
        lost = UnexpectedError(f"{group.name}: {type(error).__name__} on a worker")
    else:
        lost = ClusterError(f"{group.name}: the scheduler was lost; the next run scores it")
    end_task_run(group, str(lost))
    return lost


def end_task_run(group: Group, reason: str) -> None:
    """Let a task that nothing runs any more end in Prefect, which would show it as running."""
    if group.task_run_id is None:
        return
    try:
        with get_client(sync_client=True) as client:
            client.set_task_run_state(group.task_run_id, Crashed(message=reason), force=True)
    except (httpx.HTTPError, PrefectHTTPStatusError, ObjectNotFound) as error:
        logger.warning("the end of a task is not shown (%s)", type(error).__name__)
