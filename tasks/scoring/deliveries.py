"""Deliver shards while others are scored, and check the tables before and after."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from tasks.common.errors import DeliveryError, TransientDeliveryError
from tasks.common.task_errors import describe_error
from tasks.delivery.prefect_tasks import (
    check_delivery_target,
    deliver_shard,
    find_delivered,
    prove_delivery,
    remove_obsolete_deliveries,
)
from tasks.delivery.types import Delivery, DeliveryTarget
from tasks.inputs.types import Surveyed
from tasks.output.records import ShardRecord
from tasks.scoring.prefect_tasks import prepare_delivery
from tasks.scoring.types import PlannedShard, ScoringParameters, ShardOutcome

logger = logging.getLogger(__name__)


def check_targets(parameters: ScoringParameters) -> None:
    """Check before any work that each database can be written; one that is away may come back.

    Raises:
        ParameterError: If a source has no address, or one that is none of a database.
        DeliveryError: If the database, its schema or a right is missing.
    """
    for target in parameters.targets.values():
        try:
            check_delivery_target(target)
        except TransientDeliveryError as error:
            # Scoring needs no database: the next run delivers what this one cannot.
            logger.warning("%s; scoring goes on", error)


def prepare_targets(surveys: tuple[Surveyed, ...], parameters: ScoringParameters) -> dict[str, str]:
    """Make each table with the columns of all files, before the first shard is delivered.

    A table with other columns, or files that do not agree, are logged alone: the run scores what it
    can, and fails when it delivers.

    Returns:
        What has to be mended before all can be delivered to a table, by its name.
    """
    reasons = {}
    for folder, target in parameters.targets.items():
        try:
            prepare_delivery(target, folder, surveys, parameters)
        except DeliveryError as error:
            logger.warning("%s; scoring goes on", error)
            if not isinstance(error, TransientDeliveryError):
                reasons[str(target)] = describe_error(error).removeprefix(f"{target}: ")
    return reasons


def complete_deliveries(
    planned: Sequence[PlannedShard],
    outcomes: Sequence[ShardOutcome],
    parameters: ScoringParameters,
) -> None:
    """Remove the rows of shards that are gone, and prove that each table has those of the others.

    As `tasks.scoring.planning.remove_obsolete_shards`, it leaves files of which shards are left
    out.

    Args:
        planned: The shards of this run.
        outcomes: What became of them.
        parameters: With the tables.

    Raises:
        ProofError: If a table has more or fewer rows of a shard than its record says, naming the
            first such shard.
        DeliveryError: If a database refuses it.
    """
    keep = tuple(shard.shard.id for shard in planned)
    files = {shard.shard.file_id for shard in planned}
    files -= {shard.shard.file_id for shard in planned if shard.left}
    for folder, target in parameters.targets.items():
        remove_obsolete_deliveries(target, tuple(sorted(files)), keep)
        delivered = tuple(
            delivery
            for outcome in outcomes
            for delivery in outcome.deliveries
            if delivery.target == str(target) and not delivery.error
        )
        expected = {
            outcome.id: rows_to_deliver(outcome.record, folder, parameters)
            for outcome in outcomes
            if outcome.record is not None
        }
        prove_delivery(target, delivered, expected)


def rows_to_deliver(record: ShardRecord, folder: str, parameters: ScoringParameters) -> int:
    """Return how many rows of a shard a table is to have."""
    if folder == "rejected":
        return record.counts.rejected
    return record.counts.to_deliver if parameters.has_delivery_rule else record.counts.scored


class DeliveryScheduler:
    """Submits the deliveries of shards that are published, and collects what became of them.

    Args:
        pool: The threads that deliver.
        parameters: With the tables.
    """

    def __init__(self, pool: ThreadPoolTaskRunner[Any], parameters: ScoringParameters) -> None:
        self._pool = pool
        self._targets = parameters.targets
        self._output_dir = parameters.output_dir
        self._running: list[tuple[str, DeliveryTarget, PrefectFuture[Any]]] = []
        self._done: list[Delivery] = []

    def deliver(self, record: ShardRecord, published: Sequence[PrefectFuture[Any]]) -> None:
        """Submit the deliveries of a shard that was published just now, by these tasks."""
        for folder in self._targets:
            self._submit(record.shard.id, folder, published)

    def deliver_earlier(self, records: Sequence[ShardRecord]) -> None:
        """Submit those of shards that are published since before, unless they are there."""
        for folder, target in self._targets.items() if records else ():
            done = find_delivered(tuple(records), target, folder)
            self._done += done
            known = {delivery.shard for delivery in done}
            for record in records:
                if record.shard.id not in known:
                    self._submit(record.shard.id, folder, [])

    def finish(self, outcomes: Iterable[ShardOutcome]) -> list[ShardOutcome]:
        """Wait for the deliveries, and return the outcomes of shards with them."""
        found = [*self._done, *(self._result(*running) for running in self._running)]
        by_shard: dict[str, tuple[Delivery, ...]] = {}
        for delivery in found:
            by_shard[delivery.shard] = (*by_shard.get(delivery.shard, ()), delivery)
        return [
            outcome.model_copy(update={"deliveries": by_shard.get(outcome.id, ())})
            for outcome in outcomes
        ]

    def _submit(self, shard: str, folder: str, wait_for: Sequence[PrefectFuture[Any]]) -> None:
        target = self._targets[folder]
        arguments = {
            "shard": shard,
            "output_dir": self._output_dir,
            "target": target,
            "rejects": folder == "rejected",
        }
        future = self._pool.submit(deliver_shard, arguments, wait_for=wait_for)
        self._running.append((shard, target, future))

    @staticmethod
    def _result(shard: str, target: DeliveryTarget, future: PrefectFuture[Any]) -> Delivery:
        result = future.result(raise_on_failure=False)
        if isinstance(result, Delivery):
            return result
        # What shows it names both.
        error = describe_error(result).removeprefix(f"{target}: {shard}: ")
        return Delivery(shard=shard, target=str(target), error=error)
