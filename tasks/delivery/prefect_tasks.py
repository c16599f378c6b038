"""Prefect tasks that deliver shards into a database, remove obsolete ones, and prove the end.

A task has the name of a database, never its address: Prefect stores the parameters of tasks.
"""

from pathlib import Path

from prefect import task

from tasks.common.task_errors import RETRY_DELIVERY, redacted_errors, step
from tasks.delivery.types import Delivery, DeliveryTarget
from tasks.output.records import ShardRecord


@step(name="check delivery target", **RETRY_DELIVERY)
def check_delivery_target(target: DeliveryTarget) -> None:
    """Check before any work that the database can be reached and written."""
    from tasks.delivery.checks import check_target
    from tasks.sources.addresses import require_address

    with redacted_errors(str(target)):
        check_target(target, require_address(target.source))


@task(name="deliver shard", task_run_name="deliver {record.shard.id} to {target}", **RETRY_DELIVERY)
def deliver_shard(
    record: ShardRecord, output_dir: Path, target: DeliveryTarget, folder: str = "predictions"
) -> Delivery:
    """Deliver the rows of a published shard in one transaction, unless they are there."""
    from tasks.delivery import shard_delivery
    from tasks.sources.addresses import require_address

    with redacted_errors(record.shard.id):
        address = require_address(target.source)
        return shard_delivery.deliver_shard(record, output_dir, target, address, folder=folder)


@task(
    name="remove obsolete deliveries",
    task_run_name="remove obsolete deliveries from {target}",
    **RETRY_DELIVERY,
)
def remove_obsolete_deliveries(
    target: DeliveryTarget, files: tuple[str, ...], keep: tuple[str, ...]
) -> int:
    """Remove the rows of shards that the files of this run no longer have."""
    from tasks.delivery.checks import remove_obsolete
    from tasks.sources.addresses import require_address

    with redacted_errors(str(target)):
        return remove_obsolete(target, require_address(target.source), set(files), set(keep))


@task(name="prove delivery", task_run_name="prove delivery to {target}", **RETRY_DELIVERY)
def prove_delivery(target: DeliveryTarget, expected: dict[str, int]) -> None:
    """Check by `count(*)` that the table has the rows of each shard."""
    from tasks.delivery import checks
    from tasks.sources.addresses import require_address

    with redacted_errors(str(target)):
        checks.prove_delivery(target, require_address(target.source), expected)
