"""Score shards on the workers of a Dask cluster, and publish their drafts in this process."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import httpx
from distributed import Future, KilledWorker
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Crashed
from prefect_dask.client import PrefectDaskClient

from tasks.cluster.prefect_tasks import score_group
from tasks.cluster.roster import PATIENCE_S, Roster
from tasks.cluster.shard_groups import Group, Lease
from tasks.cluster.types import ShardGroup
from tasks.common.errors import ClusterError, MillstreamError, StoppedError, UnexpectedError
from tasks.common.files import unique_name
from tasks.common.progress import Progress
from tasks.common.settings import get_settings
from tasks.common.task_errors import redacted_errors
from tasks.output.publishing import DraftedShard, publish_shard
from tasks.output.records import ShardRecord
from tasks.scoring.shard_scheduler import Scored, Submitted
from tasks.scoring.types import ScoringParameters
from tasks.staging.leases import grant_lease

logger = logging.getLogger(__name__)

_WATCH_INTERVAL_S = 1.0

# Of a task whose result was lost with its worker: the scheduler lets another one compute it again.
_AGAIN = ("pending", "lost")


class ClusterPool:
    """Lets workers score groups of shards; a `tasks.scoring.shard_scheduler.ShardPool`.

    Args:
        client: Connected to the scheduler.
        roster: The workers.
        parameters: How the run scores.
        progress: What shows it.
    """

    def __init__(
        self,
        client: PrefectDaskClient,
        roster: Roster,
        parameters: ScoringParameters,
        progress: Progress,
    ) -> None:
        self._client = client
        self._roster = roster
        self._parameters = parameters
        self._progress = progress
        self._run = unique_name()
        self._leases = 0
        self._next: Group | None = None
        self._groups: dict[str, Group] = {}
        # Groups whose look-ups are done, and those whose task ended, with that task.
        self._events: Queue[tuple[Group, Future[Any] | None]] = Queue()
        self._watched = time.monotonic()
        self._without_workers_since: float | None = None
        self._topic = f"millstream-{self._run}"
        client.subscribe_topic(self._topic, self._show)

    def is_full(self) -> bool:
        """Return whether twice as many groups are submitted as the workers have threads."""
        return len(self._groups) >= 2 * max(1, self._roster.threads)

    def staging_folder(self) -> Path:
        """Return the folder of the lease of the next group."""
        return self._open_group().lease.folder

    def submit(self, submitted: Submitted) -> None:
        """Add a shard to the next group, and submit that when it is large enough."""
        group = self._open_group()
        group.shards.append(submitted)
        if group.is_large_enough(self._parameters.shard_rows):
            self._close_group()

    def collect(self) -> Sequence[Scored]:
        """Wait until a group ends, and publish its shards."""
        self._close_group()
        while self._groups:
            if failed := self._watch():
                return failed
            try:
                group, future = self._events.get(timeout=_WATCH_INTERVAL_S)
            except Empty:
                continue
            if group.key not in self._groups:
                continue  # it failed with all others
            if future is None:
                if failed := self._dispatch(group):
                    return failed
            elif future is group.future and (scored := self._end(group, future)):
                return scored
        return ()

    def _open_group(self) -> Group:
        if self._next is None:
            self._leases += 1
            name = f"{self._run}-{self._leases:05}"
            self._next = Group(Lease(grant_lease(self._parameters.output_dir, name)))
        return self._next

    def _close_group(self) -> None:
        """Submit the group that shards were added to, after their look-ups."""
        if self._next is None or not self._next.shards:
            return
        group, self._next = self._next, None
        self._add(group)

    def _add(self, group: Group) -> None:
        self._groups[group.key] = group
        lookups = [lookup for shard in group.shards for lookup in shard.lookups]
        if not lookups:
            self._events.put((group, None))
        left = len(lookups)

        def count_down(_: object) -> None:
            nonlocal left
            left -= 1
            if not left:
                self._events.put((group, None))

        for lookup in lookups:
            lookup.add_done_callback(count_down)

    def _dispatch(self, group: Group) -> Sequence[Scored]:
        """Submit the task of a group; return the shards of which a look-up failed."""
        errors = [(shard, shard.failed_lookup()) for shard in group.shards]
        failed = [Scored(shard, error) for shard, error in errors if error is not None]
        group.shards = [shard for shard, error in errors if error is None]
        if group.shards:
            self._submit(group)
        else:
            self._forget(group)
        return failed

    def _submit(self, group: Group) -> None:
        group.workers = frozenset(self._roster.accepted)
        work = ShardGroup(
            name=group.name,
            key=group.key,
            lease=group.lease.folder,
            shards=group.leased,
            parameters=self._parameters,
            tracking_uri=get_settings().tracking_uri,
            topic=self._topic,
        )
        future = self._client.submit(
            score_group,
            parameters={"group": work},
            # Two groups are never one task, whatever they hold.
            key=f"score-{self._run}-{unique_name()}",
            workers=sorted(group.workers),
            pure=False,
            return_type="state",
        )
        group.future, group.task_run_id = future, future.task_run_id
        self._await(group, future)

    def _await(self, group: Group, future: "Future[Any]") -> None:
        future.add_done_callback(lambda done: self._events.put((group, done)))

    def _end(self, group: Group, future: "Future[Any]") -> Sequence[Scored]:
        """Publish what a task drafted; if it failed, its shards are scored one by one."""
        if future.status in _AGAIN:
            self._await(group, future)
            return ()
        result = self._result(group, future)
        if isinstance(result, StoppedError):
            # The worker was stopped, not this run.
            logger.warning("%s: was given back by its worker, and is scored by another", group.name)
            self._restart(group)
            return ()
        if isinstance(result, BaseException) and len(group.shards) > 1 and _is_of_a_shard(result):
            self._restart(group)
            return ()
        return self._finish(group, result)

    def _restart(self, group: Group) -> None:
        self._progress.advance(-group.shown_rows)
        del self._groups[group.key]
        for single in group.split():
            self._add(single)

    def _finish(self, group: Group, result: object) -> Sequence[Scored]:
        drafts: Sequence[object] = (
            result if isinstance(result, tuple) else [result] * len(group.shards)
        )
        scored = [
            Scored(shard, self._publish(shard, group, draft))
            for shard, draft in zip(group.shards, drafts, strict=True)
        ]
        rows = sum(
            one.submitted.planned.shard.rows
            for one in scored
            if isinstance(one.result, ShardRecord)
        )
        self._progress.advance(rows - group.shown_rows)
        self._forget(group)
        return scored

    def _publish(self, shard: Submitted, group: Group, draft: object) -> object:
        """Return the record of a shard that is published now, or its error."""
        if not isinstance(draft, DraftedShard):
            return draft
        name, folder = shard.planned.shard.id, group.lease.folder
        if any(path.parent != folder for path in draft.drafts.values()):
            return ClusterError(f"{name}: its worker wrote elsewhere; expected drafts in {folder}")
        try:
            with redacted_errors(name):
                return publish_shard(draft, self._parameters.output_dir)
        except (MillstreamError, OSError) as error:
            return error

    def _forget(self, group: Group) -> None:
        del self._groups[group.key]
        group.lease.release()

    def _result(self, group: Group, future: "Future[Any]") -> object:
        """Return what a task returned, or why it failed."""
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
        self._end_task_run(group, str(lost))
        return lost

    def _watch(self) -> Sequence[Scored]:
        """Look after the workers, now and then; return the shards that none is left for."""
        if time.monotonic() - self._watched < _WATCH_INTERVAL_S:
            return ()
        self._watched = time.monotonic()
        try:
            self._roster.refresh()
        except ClusterError as error:
            return self._fail_all(error)
        if self._roster.accepted:
            self._without_workers_since = None
            for group in self._groups.values():
                if group.future and group.workers.isdisjoint(self._roster.accepted):
                    # Those that may score it are gone; others came.
                    group.future.cancel()
                    self._submit(group)
            return ()
        self._without_workers_since = self._without_workers_since or time.monotonic()
        if time.monotonic() - self._without_workers_since < PATIENCE_S:
            return ()
        return self._fail_all(ClusterError(f"no worker was left for {PATIENCE_S:.0f} s"))

    def _fail_all(self, error: ClusterError) -> Sequence[Scored]:
        failed: list[Scored] = []
        for group in list(self._groups.values()):
            if group.future:
                group.future.cancel()
                self._end_task_run(group, str(error))
            failed += self._finish(group, error)
        return failed

    def _show(self, event: tuple[float, dict[str, Any]]) -> None:
        """Count the rows that a worker reports; it does so in a thread of the client."""
        _, message = event
        if group := self._groups.get(message["group"]):
            done = message["rows"] - group.shown_rows
            group.shown_rows += done
            self._progress.advance(done)

    @staticmethod
    def _end_task_run(group: Group, reason: str) -> None:
        """Let a task that nothing runs any more end in Prefect, which would show it as running."""
        if group.task_run_id is None:
            return
        try:
            with get_client(sync_client=True) as client:
                client.set_task_run_state(group.task_run_id, Crashed(message=reason), force=True)
        except (httpx.HTTPError, PrefectHTTPStatusError, ObjectNotFound) as error:
            logger.warning("the end of a task is not shown (%s)", type(error).__name__)


def _is_of_a_shard(error: BaseException) -> bool:
    """Return whether an error may be that of one shard of a group, and spare the others."""
    return not isinstance(error, ClusterError)
