"""Submit the tasks of shards to pools of threads, a few at a time, and collect their outcomes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import ThreadPoolTaskRunner

from tasks.common.errors import DataError, OutputError
from tasks.common.progress import Progress
from tasks.common.task_errors import describe_error
from tasks.inputs.types import Surveyed
from tasks.output.folder import STAGING
from tasks.output.records import Shard, ShardRecord
from tasks.scoring.prefect_tasks import look_up, score_shard
from tasks.scoring.types import PlannedShard, ScoringParameters, ShardOutcome
from tasks.staging.types import StagedShard

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class _Running:
    """A shard that is scored, the files of its rows, and its look-ups."""

    planned: PlannedShard
    staged: StagedShard
    lookups: Sequence[PrefectFuture[Any]]

    def result(self, scored: PrefectFuture[Any]) -> object:
        """Return its record, or the error of a task: of look-ups, the first."""
        failed = (
            error
            for lookup in self.lookups
            if isinstance(error := lookup.result(raise_on_failure=False), BaseException)
        )
        return next(failed, None) or scored.result(raise_on_failure=False)


class ShardScheduler:
    """Submits shards to a pool, a few at a time, and collects their outcomes in one thread.

    Args:
        runner: The threads that score.
        waiting: Those that wait for databases.
        parameters: How the run scores.
        progress: What shows it.
        deliver: Called with the record of each shard that is published, and its task.
    """

    def __init__(
        self,
        runner: ThreadPoolTaskRunner[Any],
        waiting: ThreadPoolTaskRunner[Any],
        parameters: ScoringParameters,
        progress: Progress,
        deliver: Callable[[ShardRecord, PrefectFuture[Any]], None],
    ) -> None:
        self._runner = runner
        self._waiting = waiting
        self._parameters = parameters
        self._progress = progress
        self._deliver = deliver
        self._running: dict[PrefectFuture[Any], _Running] = {}
        # Twice what can be scored, so that no thread waits for this one, which reads and collects.
        self._limit = 2 * parameters.workers
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
        while self._running:
            self._collect_next()
        if self._output_error is not None:
            raise self._output_error
        return self._outcomes

    def _submit(self, planned: PlannedShard, rows: "Iterator[pa.Table]") -> None:
        from tasks.staging.arrow_files import write_staged

        while len(self._running) >= self._limit:
            self._collect_next()
        if self._output_error is not None:
            raise self._output_error
        shard, output_dir = planned.shard, self._parameters.output_dir
        path = output_dir / STAGING / f"{shard.id}.arrow"
        write_staged(rows, path, output_dir)
        lookups, futures = self._look_up(shard, path)
        staged = StagedShard(rows=path, lookups=lookups)
        future = self._runner.submit(
            score_shard,
            {"shard": shard, "staged": staged, "parameters": self._parameters},
            wait_for=futures,
        )
        self._running[future] = _Running(planned, staged, futures)

    def _look_up(
        self, shard: Shard, staged: Path
    ) -> tuple[tuple[dict[str, Path], ...], list[PrefectFuture[Any]]]:
        """Submit the look-ups of a shard, all at once; return their files and futures."""
        files: list[dict[str, Path]] = []
        futures: list[PrefectFuture[Any]] = []
        output_dir = self._parameters.output_dir
        for number, model in enumerate(self._parameters.models):
            files.append({})
            for lookup in model.business.lookups if model.business else ():
                target = output_dir / STAGING / f"{shard.id}.{number}-{lookup.name}.arrow"
                files[-1][lookup.name] = target
                arguments = {
                    "shard": shard,
                    "lookup": lookup.name,
                    "model_uri": model.uri,
                    "staged": staged,
                    "target": target,
                    "output_dir": output_dir,
                }
                futures.append(self._waiting.submit(look_up, arguments))
        return tuple(files), futures

    def _collect_next(self) -> None:
        """Wait until one of the running shards ends, and keep its outcome."""
        future = next(as_completed(list(self._running)))
        running = self._running.pop(future)
        planned = running.planned
        for path in running.staged.files:
            path.unlink(missing_ok=True)
        result = running.result(future)
        if isinstance(result, ShardRecord):
            self._deliver(result, future)
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
