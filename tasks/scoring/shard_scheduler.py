"""Submit staged shards to a pool, a few at a time, and collect their outcomes in one thread."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from tasks.common.errors import DataError, OutputError
from tasks.common.progress import Progress
from tasks.common.task_errors import describe_error
from tasks.inputs.types import Surveyed
from tasks.output.records import Shard, ShardRecord
from tasks.scoring.prefect_tasks import look_up
from tasks.scoring.types import PlannedShard, ScoringParameters, ShardOutcome
from tasks.staging.types import StagedShard

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Submitted:
    """A shard that is to be scored, the files of its rows, and its look-ups."""

    planned: PlannedShard
    staged: StagedShard
    lookups: Sequence[PrefectFuture[Any]]

    def failed_lookup(self) -> BaseException | None:
        """Wait for the look-ups; return the error of the first that failed."""
        results = (lookup.result(raise_on_failure=False) for lookup in self.lookups)
        return next((result for result in results if isinstance(result, BaseException)), None)


@dataclass(frozen=True, slots=True)
class Scored:
    """A shard that ended.

    Attributes:
        submitted: The shard.
        result: Its record, which is published, or its error.
        task: The tasks that its deliveries come after.
    """

    submitted: Submitted
    result: object
    tasks: Sequence[PrefectFuture[Any]] = ()


class ShardPool(Protocol):
    """What scores shards: threads of this process, or the workers of a cluster.

    One thread calls it.
    """

    def is_full(self) -> bool:
        """Return whether a shard is to be collected before another one is staged."""

    def staging_folder(self) -> Path:
        """Return the folder, inside the output, for the rows of the next shard."""

    def submit(self, submitted: Submitted) -> None:
        """Let a shard be scored and published."""

    def collect(self) -> Sequence[Scored]:
        """Wait until shards end, and return them; none if nothing is left that was submitted.

        Their staged files are gone.
        """


class ShardScheduler:
    """Submits shards to a pool, a few at a time, and collects their outcomes in one thread.

    Args:
        pool: What scores them.
        waiting: Threads that wait for databases.
        parameters: How the run scores.
        progress: What shows it.
        deliver: Called with the record of each shard that is published, and its tasks.
    """

    def __init__(
        self,
        pool: ShardPool,
        waiting: ThreadPoolTaskRunner[Any],
        parameters: ScoringParameters,
        progress: Progress,
        deliver: Callable[[ShardRecord, Sequence[PrefectFuture[Any]]], None],
    ) -> None:
        self._pool = pool
        self._waiting = waiting
        self._parameters = parameters
        self._progress = progress
        self._deliver = deliver
        self._outcomes: list[ShardOutcome] = []
        self._output_error: OutputError | None = None

    def score_file(self, surveyed: Surveyed, planned: Sequence[PlannedShard]) -> None:
        """Submit the shards of a file that are not done; return when the last is submitted."""
        from tasks.inputs.row_ranges import read_shards

        waiting = {p.shard.id: p for p in planned if p.why}
        if not waiting:
            return
        try:
            for shard, rows in read_shards(surveyed, [p.shard for p in planned], set(waiting)):
                self._submit(waiting[shard.id], rows)
                del waiting[shard.id]
        except (DataError, OSError) as error:
            self._outcomes += [failed_outcome(p.shard, error) for p in waiting.values()]

    def finish(self) -> list[ShardOutcome]:
        """Wait for the shards that are still scored, and return the outcomes of all submitted.

        Raises:
            OutputError: If the output folder could not be written.
        """
        while self._collect():
            pass
        if self._output_error is not None:
            raise self._output_error
        return self._outcomes

    def _submit(self, planned: PlannedShard, rows: "Iterator[pa.Table]") -> None:
        from tasks.staging.arrow_files import write_staged

        while self._pool.is_full():
            self._collect()
        if self._output_error is not None:
            raise self._output_error
        shard, folder = planned.shard, self._pool.staging_folder()
        path = folder / f"{shard.id}.arrow"
        write_staged(rows, path, self._parameters.output_dir)
        lookups, futures = self._look_up(shard, path)
        self._pool.submit(Submitted(planned, StagedShard(rows=path, lookups=lookups), futures))

    def _look_up(
        self, shard: Shard, staged: Path
    ) -> tuple[tuple[dict[str, Path], ...], list[PrefectFuture[Any]]]:
        """Submit the look-ups of a shard, all at once; return their files and futures."""
        files: list[dict[str, Path]] = []
        futures: list[PrefectFuture[Any]] = []
        for number, model in enumerate(self._parameters.models):
            files.append({})
            for lookup in model.business.lookups if model.business else ():
                target = staged.with_name(f"{shard.id}.{number}-{lookup.name}.arrow")
                files[-1][lookup.name] = target
                arguments = {
                    "shard": shard,
                    "lookup": lookup.name,
                    "model_uri": model.uri,
                    "staged": staged,
                    "target": target,
                    "output_dir": self._parameters.output_dir,
                }
                futures.append(self._waiting.submit(look_up, arguments))
        return tuple(files), futures

    def _collect(self) -> bool:
        """Wait until some of the shards end, and keep their outcomes; return whether any did."""
        scored = self._pool.collect()
        for one in scored:
            self._keep(one)
        return bool(scored)

    def _keep(self, scored: Scored) -> None:
        planned, result = scored.submitted.planned, scored.result
        if isinstance(result, ShardRecord):
            self._deliver(result, scored.tasks)
            self._outcomes.append(
                ShardOutcome(**of_shard(planned.shard), why=planned.why, record=result)
            )
            return
        self._progress.advance(planned.shard.rows)
        if isinstance(result, OutputError):
            self._output_error = result
        self._outcomes.append(failed_outcome(planned.shard, result))


def failed_outcome(shard: Shard, error: object) -> ShardOutcome:
    """Return the outcome of a shard that failed."""
    return ShardOutcome(**of_shard(shard), error=describe_error(error), rows_failed=shard.rows)


def of_shard(shard: Shard) -> dict[str, Any]:
    """Return the fields of an outcome that come from its shard."""
    return {"id": shard.id, "file_id": shard.file_id, "source": shard.source}
