"""Prefect tasks of a cluster: check it before work, and score a group of shards on a worker."""

from prefect import task

from tasks.cluster.types import ShardGroup
from tasks.common.task_errors import RETRY_FILE_ACCESS, RETRY_ONCE, redacted_errors
from tasks.scoring.types import ScoringParameters
from tasks.staging.publishing import DraftedShard


@task(name="check cluster", **RETRY_ONCE)
def check_cluster(runner: str, parameters: ScoringParameters) -> tuple[str, ...]:
    """Check the workers of a cluster before any file is read; return why some may not score."""
    from tasks.cluster.connection import check_workers

    return check_workers(runner, parameters)


@task(name="score shards", task_run_name="score {group.name}", **RETRY_FILE_ACCESS)
def score_group(group: ShardGroup) -> tuple[DraftedShard, ...]:
    """Score the shards of a group on a worker, which publishes nothing."""
    from tasks.cluster.worker import draft_group

    with redacted_errors(group.name):
        return draft_group(group)
