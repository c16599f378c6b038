"""Prefect tasks that deliver shards into a database, remove obsolete ones, and prove the end.

A task has the name of a database, never its address: Prefect stores the parameters of tasks.
"""

from pathlib import Path

from prefect import task

from tasks.common.errors import DeliveryError
from tasks.common.task_errors import RETRY_DELIVERY, redacted_delivery_errors, step
from tasks.delivery.types import Delivery, DeliveryTarget
from tasks.output.records import ShardRecord, read_record


def _read_published(output_dir: Path, shard: str) -> ShardRecord:
    """Return the record of a published shard.

    A task takes the name alone, and no folder: Prefect would draw an edge from every task whose
    record has the same object, were it a text.

    Raises:
        DeliveryError: If there is none, or it is damaged.
    """
    try:
        record = read_record(output_dir, shard)
    except ValueError as error:
        raise DeliveryError(str(error)) from error
    if record is None:
        raise DeliveryError(f"{shard}: is not published in {output_dir}; expected its record")
    return record


@step(name="check delivery target", **RETRY_DELIVERY)
def check_delivery_target(target: DeliveryTarget) -> None:
    """Check before any work that the database can be reached and written."""
    from tasks.delivery.checks import check_target
    from tasks.sources.addresses import require_address

    with redacted_delivery_errors(str(target), str(target)):
        check_target(target, require_address(target.source))


@task(name="find deliveries", task_run_name="find deliveries to {target}", **RETRY_DELIVERY)
def find_delivered(
    records: tuple[ShardRecord, ...], target: DeliveryTarget, folder: str = "predictions"
) -> tuple[Delivery, ...]:
    """Return the deliveries of shards that need none."""
    from tasks.delivery import checks
    from tasks.sources.addresses import require_address

    with redacted_delivery_errors(str(target), str(target)):
        address = require_address(target.source)
        return checks.find_delivered(records, target, address, folder=folder)


@task(name="deliver shard", task_run_name="deliver {shard} to {target}", **RETRY_DELIVERY)
def deliver_shard(
    shard: str, output_dir: Path, target: DeliveryTarget, *, rejects: bool = False
) -> Delivery:
    """Deliver the rows of a published shard in one transaction, unless they are there."""
    from tasks.delivery import shard_delivery
    from tasks.sources.addresses import require_address

    with redacted_delivery_errors(str(target), shard):
        address = require_address(target.source)
        record = _read_published(output_dir, shard)
        folder = "rejected" if rejects else "predictions"
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

    with redacted_delivery_errors(str(target), str(target)):
        return remove_obsolete(target, require_address(target.source), set(files), set(keep))


@task(name="prove delivery", task_run_name="prove delivery to {target}", **RETRY_DELIVERY)
def prove_delivery(
    target: DeliveryTarget, delivered: tuple[Delivery, ...], expected: dict[str, int]
) -> None:
    """Check by `count(*)` that the table has the rows of each shard that was delivered."""
    from tasks.delivery import checks
    from tasks.sources.addresses import require_address

    with redacted_delivery_errors(str(target), str(target)):
        rows = {delivery.shard: expected[delivery.shard] for delivery in delivered}
        checks.prove_delivery(target, require_address(target.source), rows)
