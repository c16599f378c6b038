"""Score shards on the workers of a Dask cluster, and publish their drafts in this process."""

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue, SimpleQueue
from threading import Lock
from typing import Any

from distributed import Future
from distributed.client import ClosedClientError
from prefect_dask.client import PrefectDaskClient

from tasks.cluster.prefect_tasks import score_group
from tasks.cluster.roster import PATIENCE_S, Roster
from tasks.cluster.shard_groups import Group, Lease
from tasks.cluster.task_results import (
    LostTaskRuns,
    cancel_task,
    given_back,
    is_of_a_shard,
    publish_draft,
    scheduler_lost,
    task_result,
)
from tasks.cluster.types import ShardGroup
from tasks.common.cancellation import deferred_termination
from tasks.common.errors import ClusterError, StoppedError
from tasks.common.files import unique_name
from tasks.common.progress import Progress
from tasks.common.settings import get_settings
from tasks.output.records import ShardRecord
from tasks.scoring.shard_scheduler import Scored, Submitted
from tasks.scoring.success import SCORED_NEXT
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
        self._failed: list[Scored] = []
        self._lost = LostTaskRuns()
        # Groups whose look-ups are done, and those whose task ended, with that task.
        self._ready: SimpleQueue[Group] = SimpleQueue()
        self._ended: Queue[tuple[Group, Future[Any]] | None] = Queue()
        self._watched = time.monotonic()
        self._without_workers_since: float | None = None
        self._topic = f"millstream-{self._run}"
        client.subscribe_topic(self._topic, self._show)

    def is_full(self) -> bool:
        """Return whether twice as many groups are submitted as the workers have threads."""
        self._submit_ready()
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
        while self._groups or self._failed:
            if failed := self._take_failed() or self._watch():
                return failed
            with suppress(Empty):
                ended = self._ended.get(timeout=_WATCH_INTERVAL_S)
                if ended and (scored := self._end(*ended)):
                    return scored
        self._lost.end_unknown()
        return ()

    def _take_failed(self) -> Sequence[Scored]:
        """Return the shards of which a look-up failed, and those that no scheduler took."""
        self._submit_ready()
        failed, self._failed = self._failed, []
        return failed

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
            self._submit(group)
            return
        left, lock = len(lookups), Lock()

        def count_down(_: object) -> None:
            nonlocal left
            with lock:
                left -= 1
            if not left:
                self._ready.put(group)
                self._ended.put(None)  # so that `collect` looks

        for lookup in lookups:
            lookup.add_done_callback(count_down)

    def _submit_ready(self) -> None:
        """Submit the groups whose look-ups are done, without the shards of which one failed."""
        with suppress(Empty):
            while True:
                group = self._ready.get_nowait()
                if group.key not in self._groups:
                    continue  # it failed with all others
                errors = [(shard, shard.failed_lookup()) for shard in group.shards]
                self._failed += [Scored(s, error) for s, error in errors if error]
                group.shards = [shard for shard, error in errors if error is None]
                if group.shards:
                    self._submit(group)
                else:
                    self._forget(group)

    def _submit(self, group: Group) -> None:
        group.workers = frozenset(self._roster.accepted)
        group.is_submitted = True
        if not group.workers:
            return  # Dask would take any worker; `_watch` submits it to the first that may score
        work = ShardGroup(
            name=group.name,
            key=group.key,
            lease=group.lease.folder,
            shards=group.leased,
            parameters=self._parameters,
            tracking_uri=get_settings().tracking_uri,
            topic=self._topic,
        )
        try:
            with deferred_termination():
                future = self._client.submit(
                    score_group,
                    parameters={"group": work},
                    # Two groups are never one task, whatever they hold.
                    key=f"score-{self._run}-{unique_name()}",
                    workers=sorted(group.workers),
                    pure=False,
                    return_type="state",
                )
        except ClosedClientError:
            self._failed += self._finish(group, scheduler_lost(group))
            return
        group.future, group.task_run_id = future, future.task_run_id
        self._await(group, future)

    def _await(self, group: Group, future: "Future[Any]") -> None:
        future.add_done_callback(lambda done: self._ended.put((group, done)))

    def _end(self, group: Group, future: "Future[Any]") -> Sequence[Scored]:
        """Publish what a task drafted; if it failed, its shards are scored one by one."""
        if group.key not in self._groups or future is not group.future:
            return ()  # it failed with all others, or another task scores it
        if future.status in _AGAIN:
            self._await(group, future)
            return ()
        result = task_result(group, future)
        if future.status != "finished":
            self._lost.end(group, str(result))
        if isinstance(result, StoppedError):
            if not group.may_restart:
                return self._finish(group, given_back(group))
            logger.warning("%s: was given back by its worker, and is scored again", group.name)
            self._roster.check_again()
            self._restart(group)
            return ()
        if isinstance(result, BaseException) and len(group.shards) > 1 and is_of_a_shard(result):
            self._restart(group)
            return ()
        return self._finish(group, result)

    def _restart(self, group: Group) -> None:
        self._progress.advance(-group.shown_rows)
        del self._groups[group.key]
        for shard in group.shards:
            self._add(group.part(shard))
        group.lease.release()

    def _finish(self, group: Group, result: object) -> Sequence[Scored]:
        drafts: Sequence[object] = (
            result if isinstance(result, tuple) else [result] * len(group.shards)
        )
        scored: list[Scored] = []
        for shard, draft in zip(group.shards, drafts, strict=True):
            published = publish_draft(shard, group, draft, self._parameters.output_dir)
            if published is not draft and isinstance(published, OSError) and group.may_restart:
                # A draft may have moved already. Its predictions are cached where it was scored.
                logger.warning("%s: %s; it is scored again", shard.planned.shard.id, published)
                self._add(group.part(shard))
            else:
                scored.append(Scored(shard, published))
        rows = sum(
            one.submitted.planned.shard.rows
            for one in scored
            if isinstance(one.result, ShardRecord)
        )
        self._progress.advance(rows - group.shown_rows)
        self._forget(group)
        return scored

    def _forget(self, group: Group) -> None:
        del self._groups[group.key]
        group.lease.release()

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
            for group in list(self._groups.values()):
                if group.is_submitted and group.workers.isdisjoint(self._roster.accepted):
                    # Those that may score it are gone; others came.
                    self._withdraw(group, "its workers are gone")
                    self._submit(group)
            return ()
        self._without_workers_since = self._without_workers_since or time.monotonic()
        if time.monotonic() - self._without_workers_since < PATIENCE_S:
            return ()
        return self._fail_all(ClusterError(f"no worker was left for {PATIENCE_S:.0f} s"))

    def _fail_all(self, error: ClusterError) -> Sequence[Scored]:
        failed: list[Scored] = []
        for group in list(self._groups.values()):
            self._withdraw(group, str(error))
            failed += self._finish(group, ClusterError(f"{error}; {SCORED_NEXT}"))
        return failed

    def _withdraw(self, group: Group, reason: str) -> None:
        """Take the task of a group back, if it has one, and what was shown of it."""
        if group.future:
            cancel_task(group.future)
            self._lost.end(group, reason)
            self._progress.advance(-group.shown_rows)
            group.future, group.shown_rows = None, 0

    def _show(self, event: tuple[float, dict[str, Any]]) -> None:
        """Count the rows that a worker reports; it does so in a thread of the client."""
        _, message = event
        if group := self._groups.get(message["group"]):
            done = message["rows"] - group.shown_rows
            group.shown_rows += done
            self._progress.advance(done)
