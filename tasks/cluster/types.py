"""Types of scoring on a cluster: the parameter `runner`, what workers get, and what they report."""

from pathlib import Path
from typing import Annotated

from tasks.common.parameter_types import FrozenModel, about
from tasks.output.records import Shard
from tasks.scoring.types import ScoringParameters
from tasks.staging.types import StagedShard

Runner = Annotated[
    str,
    about(
        "What scores the shards: threads, or the workers of a Dask cluster, by the address of its "
        "scheduler, such as tcp://127.0.0.1:8786 or tls://scheduler.example.org:8786. Empty takes "
        "MILLSTREAM_RUNNER, or else threads."
    ),
]

RUNNER: str = ""


class WorkerCheck(FrozenModel):
    """What a worker is checked by before it gets shards.

    Attributes:
        source_digest: Of the driver's code; see `tasks.cluster.source_digest`.
        tracking_uri: MLflow's address.
        parameters: The versions that answer, the engines that they have here, and the output.
        lease: A folder in the output, with the file `WorkerCheck.TOKEN`.
        token: What that file holds.
    """

    source_digest: str
    tracking_uri: str
    parameters: ScoringParameters
    lease: Path
    token: str


class WorkerReport(FrozenModel):
    """What a worker reports of itself.

    Attributes:
        name: Its name, which has that of its host.
        threads: Groups of shards that it scores at a time.
        refusal: Why it may not score; empty if it may.
    """

    name: str
    threads: int
    refusal: str = ""


class LeasedShard(FrozenModel):
    """A shard, and its rows in the folder of a lease."""

    shard: Shard
    staged: StagedShard


class ShardGroup(FrozenModel):
    """Shards that one task of a worker scores.

    Attributes:
        name: Of the task run.
        key: Of the group, in its reports of progress.
        lease: The folder of their rows, which drafts are written to; without it nobody may score.
        shards: One, or several small ones.
        parameters: How they are scored.
        tracking_uri: MLflow's address.
        topic: Where progress is reported to.
    """

    name: str
    key: str
    lease: Path
    shards: tuple[LeasedShard, ...]
    parameters: ScoringParameters
    tracking_uri: str
    topic: str
