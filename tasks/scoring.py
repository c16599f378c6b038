"""Scoring shards of files with a registered pipeline, as Prefect tasks."""

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any

from prefect import task, unmapped
from prefect.futures import as_completed
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import BaseModel, ConfigDict, Field
from tqdm import tqdm

from tasks.data import Split
from tasks.errors import MillstreamError, ParameterError, ShardsFailedError
from tasks.retrying import unless_refused

# Beside the input columns, in this order.
PREDICTION_COLUMNS = (
    "shard",
    "row",
    "prediction_label",
    "prediction_score",
    "language_detected",
    "language_reliable",
    "truncated",
    "cached",
    "finetuned_model_uri",
    "inference_pipeline_model_uri",
)
REJECTED_COLUMNS = ("shard", "row", "line", "raw", "step", "reason")


class ScoringParameters(BaseModel):
    """How each shard is scored.

    Attributes:
        model_uri: A version that cannot come to mean another.
        output_dir: Folder of `predictions/`, `rejected/` and `manifest.json`.
        text_column: Input column of the texts.
        use_cache: Whether answers are looked up and stored.
        batch_tokens: Padded tokens that go through the transformer at once, at most.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_uri: str
    output_dir: Path
    text_column: str = "text"
    use_cache: bool = True
    batch_tokens: Annotated[int, Field(ge=1)] = 1_024


class Shard(BaseModel):
    """A file to score; `id` is made from its name and path, so that it is stable and unique."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    path: Path


class ShardResult(BaseModel):
    """What became of one shard; `error` is set if it could not be published."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    path: Path
    rows_in: int = 0
    scored: int = 0
    rejected: int = 0
    cache_hits: int = 0
    labels: dict[str, int] = {}
    languages: dict[str, int] = {}
    seconds: float = 0.0
    error: str | None = None


def output_folder(output_dir: str) -> Path:
    """Return the absolute path of a folder that exists or can be made.

    Raises:
        ParameterError: If it is empty, a file is in its place, or it may not be written.
    """
    if not output_dir.strip():
        raise ParameterError("output_dir: missing; expected a folder")
    folder = Path(output_dir).expanduser().resolve()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise ParameterError(f"output_dir: {existing} is a file; expected a folder")
    try:
        # A permission that looks right may not be, as under /proc or on a full disk.
        with TemporaryFile(dir=existing) as probe:
            probe.write(b"probe")
    except OSError as error:
        reason = error.strerror
        raise ParameterError(
            f"output_dir: {existing} may not be written ({reason}); expected another folder"
        ) from error
    return folder


@task(name="resolve model", retries=2, retry_delay_seconds=5, retry_condition_fn=unless_refused)
def resolve_model(model_uri: str) -> str:
    """Return a URI of the version that an alias means now, so that all shards use that one."""
    from tasks.registry import resolve_pipeline

    return resolve_pipeline(model_uri)


@task(name="find shards", retries=1, retry_condition_fn=unless_refused)
def find_shards(inputs: tuple[str, ...]) -> tuple[Shard, ...]:
    """List the files to score; see `tasks.shards.find`."""
    from tasks.shards import find

    return find(inputs)


@task(name="write held-out rows", retries=1, retry_condition_fn=unless_refused)
def write_held_out_rows(split: Split, shards: int) -> str:
    """Write the split's test rows as files to score and return their folder."""
    from tasks.shards import write_held_out

    return str(write_held_out(split, shards))


@task(
    name="score shard",
    task_run_name="score {shard.id}",
    retries=2,
    retry_delay_seconds=[1, 10],
    retry_condition_fn=unless_refused,
)
def score_shard(shard: Shard, parameters: ScoringParameters) -> ShardResult:
    """Score one file and publish its predictions and rejects."""
    from tasks.shard_scoring import score

    return score(shard, parameters)


def score_in_parallel(
    shards: tuple[Shard, ...], parameters: ScoringParameters, workers: int
) -> tuple[ShardResult, ...]:
    """Score shards in a pool of `workers` threads; a shard that fails does not stop the others.

    Returns:
        A result for each shard, in their order.
    """
    # The pool of a flow is as large as its decorator says; this one is a parameter.
    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=workers)
    with runner, tqdm(total=len(shards), desc="score", unit="shards", disable=None) as bar:
        futures = runner.map(score_shard, {"shard": shards, "parameters": unmapped(parameters)})
        for _ in as_completed(futures):
            bar.update()
        return tuple(
            _result_of(shard, future.result(raise_on_failure=False))
            for shard, future in zip(shards, futures, strict=True)
        )


def raise_if_failed(summary: dict[str, Any]) -> None:
    """Fail the run if a shard was not published.

    Raises:
        ShardsFailedError: If so; the other shards are published.
    """
    failures = summary["failures"]
    if failures:
        shard, error = next(iter(failures.items()))
        raise ShardsFailedError(
            f"{len(failures)} of {summary['shards_total']} shards failed; "
            f"the first, {shard}: {error}"
        )


def _result_of(shard: Shard, outcome: object) -> ShardResult:
    if isinstance(outcome, ShardResult):
        return outcome
    reason = " ".join(str(outcome).split())
    if not isinstance(outcome, MillstreamError):
        reason = f"{type(outcome).__name__}: {reason}"
    return ShardResult(id=shard.id, path=shard.path, error=reason)


@task(name="publish summary", retries=1, retry_condition_fn=unless_refused)
def publish_summary(
    parameters: ScoringParameters, results: tuple[ShardResult, ...], started: datetime
) -> dict[str, Any]:
    """Sum up the shards; write `manifest.json`, a Prefect artifact and a table."""
    from tasks.summary import publish

    return publish(parameters, results, seconds=(datetime.now(UTC) - started).total_seconds())
