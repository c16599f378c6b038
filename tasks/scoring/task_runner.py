"""Run surveys and shards in a pool of threads, a bounded number of them at a time."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import unmapped
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import ThreadPoolTaskRunner

from pyfunc.cpu_quota import usable_cores
from tasks.common.cancellation import stop_threads_on_error
from tasks.common.errors import DataError, OutputError
from tasks.common.progress import Progress, show_progress
from tasks.common.task_errors import describe_error
from tasks.ingestion.formats import Survey
from tasks.output.folder import STAGING
from tasks.output.records import Shard, ShardRecord
from tasks.scoring.planning import check_shard_count
from tasks.scoring.prefect_tasks import look_up, score_shard, survey_input
from tasks.scoring.types import (
    InputFile,
    PlannedShard,
    ScoringParameters,
    ShardOutcome,
    Surveyed,
)
from tasks.staging.types import StagedShard

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_WORKERS = 8
_WAITING_PER_WORKER = 4


def default_workers() -> int:
    """Return how many shards to score at the same time: one a core, within reason.

    They share the streams of one engine: a few read and write while the others' texts are
    predicted, and more would only wait.
    """
    return min(usable_cores(), _MOST_WORKERS)


def survey_in_parallel(
    files: Sequence[InputFile], parameters: ScoringParameters
) -> tuple[Surveyed, ...]:
    """Survey files; one that cannot be read does not stop the others.

    Returns:
        A survey or an error for each file, in their order.
    """
    named = [file for file in files if not file.error]
    survey_all = _survey_in_run if FlowRunContext.get() else _survey_in_threads
    found = {
        file.id: result for file, result in zip(named, survey_all(named, parameters), strict=True)
    }
    return tuple(_surveyed(file, found.get(file.id), parameters.shard_rows) for file in files)


def _survey_in_run(files: Sequence[InputFile], parameters: ScoringParameters) -> list[object]:
    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=parameters.workers)
    with runner, stop_threads_on_error():
        arguments = {
            "file": files,
            "rows": unmapped(parameters.rows),
            "reading": unmapped(parameters.reading),
        }
        futures = runner.map(survey_input, arguments)
        return [future.result(raise_on_failure=False) for future in futures]


def _survey_in_threads(files: Sequence[InputFile], parameters: ScoringParameters) -> list[object]:
    """Return the survey of each file, or its error, without Prefect: no flow runs."""
    with ThreadPoolExecutor(parameters.workers) as pool, stop_threads_on_error():
        futures = [
            pool.submit(
                copy_context().run, survey_input.fn, file, parameters.rows, parameters.reading
            )
            for file in files
        ]
        return [future.exception() or future.result() for future in futures]


def _surveyed(file: InputFile, result: object, shard_rows: int) -> Surveyed:
    if not isinstance(result, Survey):
        return Surveyed(file=file, error=file.error or describe_error(result))
    try:
        check_shard_count(file, result, shard_rows)
    except DataError as error:
        return Surveyed(file=file, error=describe_error(error))
    return Surveyed(file=file, survey=result)


def score_in_parallel(
    surveys: Sequence[Surveyed], planned: Sequence[PlannedShard], parameters: ScoringParameters
) -> tuple[ShardOutcome, ...]:
    """Score the planned shards that are not done; one that fails does not stop the others.

    Each file is read once more, as a stream, by this thread. Its ranges of rows pass through files
    to the threads that score them, a few at a time, so that memory does not grow with the input.

    Returns:
        An outcome for each planned shard, and for each file that could not be read, by id.

    Raises:
        OutputError: If the output folder cannot be written.
    """
    # The pool of a flow is as large as its decorator says; this one is a parameter.
    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=parameters.workers)
    # What waits for databases has another, and keeps no core from what computes.
    waiting: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(
        max_workers=_WAITING_PER_WORKER * parameters.workers
    )
    rows = sum(shard.shard.rows for shard in planned if shard.why)
    by_file: dict[str, list[PlannedShard]] = {surveyed.file.id: [] for surveyed in surveys}
    for shard in planned:
        by_file[shard.shard.file_id].append(shard)
    with (
        _staging_removed(parameters.output_dir),
        runner,
        waiting,
        show_progress("scoring", rows) as progress,
        stop_threads_on_error(),
    ):
        scheduler = _ShardScheduler(runner, waiting, parameters, progress)
        for surveyed in surveys:
            scheduler.score_file(surveyed, by_file[surveyed.file.id])
        outcomes = [*_unscored(surveys, planned), *scheduler.finish()]
    return tuple(sorted(outcomes, key=lambda outcome: outcome.id))


class _ShardScheduler:
    """Submits shards to a pool, a few at a time, and collects their outcomes in one thread."""

    def __init__(
        self,
        runner: ThreadPoolTaskRunner[Any],
        waiting: ThreadPoolTaskRunner[Any],
        parameters: ScoringParameters,
        progress: Progress,
    ) -> None:
        self._runner = runner
        self._waiting = waiting
        self._parameters = parameters
        self._progress = progress
        self._running: dict[PrefectFuture[Any], tuple[PlannedShard, StagedShard]] = {}
        # Twice what can be scored, so that no thread waits for this one, which reads and collects.
        self._limit = 2 * parameters.workers
        self._outcomes: list[ShardOutcome] = []
        self._output_error: OutputError | None = None

    def score_file(self, surveyed: Surveyed, planned: Sequence[PlannedShard]) -> None:
        """Submit the shards of a file that are not done; return when the last is submitted."""
        from tasks.scoring.row_ranges import read_shards

        waiting = {p.shard.id: p for p in planned if p.why}
        if not waiting:
            return
        try:
            for shard, rows in read_shards(surveyed, [p.shard for p in planned], set(waiting)):
                self._submit(waiting[shard.id], rows)
                del waiting[shard.id]
        except (DataError, OSError) as error:
            self._outcomes += [_failed(p.shard, error) for p in waiting.values()]

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
        self._running[future] = planned, staged

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
        planned, staged = self._running.pop(future)
        for path in staged.files:
            path.unlink(missing_ok=True)
        result = future.result(raise_on_failure=False)
        if isinstance(result, ShardRecord):
            self._outcomes.append(
                ShardOutcome(**_of_shard(planned.shard), why=planned.why, record=result)
            )
            return
        self._progress.advance(planned.shard.rows)
        if isinstance(result, OutputError):
            self._output_error = result
        self._outcomes.append(_failed(planned.shard, result))


@contextmanager
def _staging_removed(output_dir: Path) -> Iterator[None]:
    """Remove the rows that were staged and not collected, as when a run is cancelled."""
    folder = output_dir / STAGING
    try:
        yield
    finally:
        for path in folder.glob("*.arrow"):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # it may be missing, or hold what another process put there
            folder.rmdir()


def _unscored(
    surveys: Sequence[Surveyed], planned: Sequence[PlannedShard]
) -> Iterator[ShardOutcome]:
    """Yield the outcomes of files that cannot be read, and of shards that are done or left out."""
    for surveyed in surveys:
        if surveyed.error:
            file = surveyed.file
            yield ShardOutcome(id=file.id, file_id=file.id, source=file.name, error=surveyed.error)
    for shard in planned:
        if not shard.why:
            yield ShardOutcome(
                **_of_shard(shard.shard),
                record=shard.record,
                skipped=not shard.left,
                left=shard.left,
            )


def _failed(shard: Shard, error: object) -> ShardOutcome:
    return ShardOutcome(**_of_shard(shard), error=describe_error(error), rows_failed=shard.rows)


def _of_shard(shard: Shard) -> dict[str, Any]:
    return {"id": shard.id, "file_id": shard.file_id, "source": shard.source}
