"""What became of the task of a group, and its end in Prefect if its worker cannot report it."""

import logging
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from distributed import Future, KilledWorker
from distributed.client import ClosedClientError
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Crashed

from tasks.cluster.shard_groups import Group
from tasks.common.cancellation import deferred_termination
from tasks.common.errors import ClusterError, MillstreamError, UnexpectedError
from tasks.common.task_errors import redacted_errors
from tasks.scoring.shard_scheduler import Submitted
from tasks.scoring.success import SCORED_NEXT
from tasks.staging.publishing import DraftedShard, publish_shard

logger = logging.getLogger(__name__)

_RECORDED_S = 3.0  # after which Prefect's server has made a task run of its events


def task_result(group: Group, future: "Future[Any]") -> object:
    """Return what the task of a group returned, or why it failed.

    Any exception of Dask is returned: a callback would only log it.

    Args:
        group: The group.
        future: Its task, which ended.
    """
    if future.status == "cancelled":
        return scheduler_lost(group)
    try:
        state: State[Any] = future.result()
    except KilledWorker as error:
        return ClusterError(
            f"{group.name}: worker {error.last_worker.name} was lost while it scored, as "
            f"{error.allowed_failures} before it; {SCORED_NEXT}"
        )
    except Exception as error:  # noqa: BLE001 -- of Dask, or of a worker that cannot run the task
        return UnexpectedError(
            f"{group.name}: {type(error).__name__} of Dask; the logs of its scheduler and workers "
            "name the cause"
        )
    return state.result(raise_on_failure=False)


def publish_draft(shard: Submitted, group: Group, draft: object, output_dir: Path) -> object:
    """Publish a shard as its worker drafted it; return its record, or why there is none.

    Args:
        shard: The shard.
        group: Its group.
        draft: What the task returned for it, or its error.
        output_dir: The output folder, which this process holds.
    """
    if not isinstance(draft, DraftedShard):
        return draft
    name, folder = shard.planned.shard.id, group.lease.folder
    if any(path.parent != folder for path in draft.drafts.values()):
        return ClusterError(f"{name}: its worker wrote elsewhere; expected drafts in {folder}")
    try:
        with deferred_termination(), redacted_errors(name):
            return publish_shard(draft, output_dir)
    except (MillstreamError, OSError) as error:
        return error


def scheduler_lost(group: Group) -> ClusterError:
    """Return the error of a group that no scheduler knows."""
    return ClusterError(f"{group.name}: the scheduler was lost; {SCORED_NEXT}")


def given_back(group: Group) -> ClusterError:
    """Return the error of a group that workers stopped to score again and again."""
    return ClusterError(f"{group.name}: its workers were stopped; {SCORED_NEXT}")


class LostTaskRuns:
    """Task runs that nothing runs any more, and that Prefect would show as running for ever."""

    def __init__(self) -> None:
        self._unknown: dict[UUID, str] = {}

    def end(self, group: Group, reason: str) -> None:
        """Let the task run of a group end as Crashed."""
        if group.task_run_id is not None and not _set_crashed(group.task_run_id, reason):
            self._unknown[group.task_run_id] = reason

    def end_unknown(self) -> None:
        """Look again for task runs that the server did not know.

        It makes them of events, which take a moment. Those that never began are never known.
        """
        if self._unknown:
            time.sleep(_RECORDED_S)
        for task_run_id, reason in self._unknown.items():
            _set_crashed(task_run_id, reason)


def _set_crashed(task_run_id: UUID, reason: str) -> bool:
    """Set the state of a task run; return whether the server knows it."""
    try:
        with get_client(sync_client=True) as client:
            client.set_task_run_state(task_run_id, Crashed(message=reason), force=True)
    except (httpx.HTTPError, PrefectHTTPStatusError) as error:
        if isinstance(error, PrefectHTTPStatusError) and error.response.status_code == 404:
            return False
        logger.warning("the end of a task is not shown (%s)", type(error).__name__)
    return True


def cancel_task(future: "Future[Any]") -> None:
    """Take a task back, unless the scheduler is gone, and the task with it."""
    with suppress(ClosedClientError):
        future.cancel()


def is_of_a_shard(error: BaseException) -> bool:
    """Return whether an error may be that of one shard of a group, and spare the others."""
    return not isinstance(error, ClusterError)
