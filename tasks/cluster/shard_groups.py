"""Groups of shards that a worker scores as one task, and the leases that they share."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from distributed import Future

from tasks.cluster.types import LeasedShard
from tasks.common.files import unique_name
from tasks.scoring.shard_scheduler import Submitted
from tasks.staging.leases import revoke_lease

# So many empty shards still make a task of seconds.
_MOST_SHARDS = 100

_MOST_RESTARTS = 5  # of a shard whose workers are stopped, or that cannot be published


@dataclass(eq=False)
class Lease:
    """The folder of a lease, and how many groups use it."""

    folder: Path
    groups: int = 1

    def release(self) -> None:
        """Take the lease away when the last of its groups is done."""
        self.groups -= 1
        if not self.groups:
            revoke_lease(self.folder)


@dataclass(eq=False)
class Group:
    """Shards that are scored as one task.

    Attributes:
        lease: The folder of their rows.
        shards: The shards.
        future: The task, once it is submitted.
        task_run_id: Its task run.
        workers: The addresses of those that may score it.
        is_submitted: Whether its look-ups are done.
        restarts: How often it was given back by a worker.
        shown_rows: The rows that its worker reported as done.
        key: A name that no other group has.
    """

    lease: Lease
    shards: list[Submitted] = field(default_factory=list)
    future: "Future[Any] | None" = None
    task_run_id: UUID | None = None
    workers: frozenset[str] = frozenset()
    is_submitted: bool = False
    restarts: int = 0
    shown_rows: int = 0
    key: str = field(default_factory=unique_name)

    @property
    def rows(self) -> int:
        """The rows of its shards."""
        return sum(shard.planned.shard.rows for shard in self.shards)

    @property
    def name(self) -> str:
        """The first shard, and how many others there are."""
        first, others = self.shards[0].planned.shard.id, len(self.shards) - 1
        return f"{first} and {others} more" if others else first

    @property
    def may_restart(self) -> bool:
        """Return whether its shards may be scored once more."""
        return self.restarts < _MOST_RESTARTS

    @property
    def leased(self) -> tuple[LeasedShard, ...]:
        """What a worker gets of the shards."""
        return tuple(LeasedShard(shard=s.planned.shard, staged=s.staged) for s in self.shards)

    def is_large_enough(self, shard_rows: int) -> bool:
        """Return whether no shard should be added: a task costs as much as scoring some rows."""
        return self.rows >= shard_rows or len(self.shards) >= _MOST_SHARDS

    def part(self, shard: Submitted) -> "Group":
        """Return a group of one of its shards, to score that again under the same lease."""
        self.lease.groups += 1
        return Group(self.lease, [shard], restarts=self.restarts + 1)
