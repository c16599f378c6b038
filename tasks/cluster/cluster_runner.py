"""Score the shards of a run with the workers of a Dask cluster."""

from collections.abc import Sequence

from tasks.cluster.cluster_pool import ClusterPool
from tasks.cluster.connection import checked_roster, connected
from tasks.inputs.types import Surveyed
from tasks.scoring.task_runner import score_with, staging_removed
from tasks.scoring.types import PlannedShard, ScoringParameters, ShardOutcome


def score_on_cluster(
    surveys: Sequence[Surveyed],
    planned: Sequence[PlannedShard],
    parameters: ScoringParameters,
) -> tuple[ShardOutcome, ...]:
    """Score the planned shards that are not done on the workers of a cluster.

    See `tasks.scoring.task_runner.score_with`. This process reads the files, publishes, and waits
    for databases.

    Args:
        surveys: The files.
        planned: Their shards.
        parameters: How they are scored, with the address of the scheduler.

    Raises:
        ClusterError: If the scheduler does not answer, or no worker may score.
        OutputError: If the output folder cannot be written.
    """
    # The leases go first: what workers still do then is in vain, however long the client takes.
    with connected(parameters.runner) as client, staging_removed(parameters.output_dir):
        roster = checked_roster(client, parameters)
        return score_with(
            lambda progress: ClusterPool(client, roster, parameters, progress),
            surveys,
            planned,
            parameters,
        )
