"""Run surveys and shards in pools of threads, and collect what became of them."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any

from prefect import unmapped
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import ThreadPoolTaskRunner

from pyfunc.cpu_quota import usable_cores
from tasks.common.cancellation import stop_threads_on_error
from tasks.common.errors import DataError
from tasks.common.progress import Progress, show_progress
from tasks.common.task_errors import describe_error
from tasks.ingestion.formats import Survey
from tasks.inputs.types import InputFile, Surveyed
from tasks.output.folder import STAGING
from tasks.scoring.deliveries import DeliveryScheduler
from tasks.scoring.planning import check_shard_count
from tasks.scoring.prefect_tasks import score_shard, survey_input, survey_inputs
from tasks.scoring.shard_scheduler import Scored, ShardPool, ShardScheduler, Submitted, of_shard
from tasks.scoring.types import PlannedShard, ScoringParameters, ShardOutcome
from tasks.staging.leases import revoke_all_leases

_MOST_WORKERS = 8
_WAITING_PER_WORKER = 4
_MOST_SURVEYS = 100  # tasks: one costs as much as reading a small file


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
        return _survey_in_groups(files, parameters, runner)


def _survey_in_groups(
    files: Sequence[InputFile], parameters: ScoringParameters, runner: ThreadPoolTaskRunner[Any]
) -> list[object]:
    """Survey many files in some tasks; each file of a group that fails gets a task of its own."""
    size = -(-len(files) // _MOST_SURVEYS) or 1
    if size == 1:
        arguments: dict[str, Any] = {"file": files, "parameters": unmapped(parameters)}
        futures = runner.map(survey_input, arguments)
        return [future.result(raise_on_failure=False) for future in futures]
    groups = [tuple(files[first : first + size]) for first in range(0, len(files), size)]
    futures = runner.map(survey_inputs, {"files": groups, "parameters": unmapped(parameters)})
    found: list[object] = []
    for group, future in zip(groups, futures, strict=True):
        surveys: object = future.result(raise_on_failure=False)
        if isinstance(surveys, tuple):
            found += surveys
        else:
            found += _survey_in_groups(group, parameters, runner)
    return found


def _survey_in_threads(files: Sequence[InputFile], parameters: ScoringParameters) -> list[object]:
    """Return the survey of each file, or its error, without Prefect: no flow runs."""
    with ThreadPoolExecutor(parameters.workers) as pool, stop_threads_on_error():
        futures = [
            pool.submit(copy_context().run, survey_input.fn, file, parameters) for file in files
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


class ThreadPool:
    """Scores each shard as a task in a thread of this process, which publishes it."""

    def __init__(self, runner: ThreadPoolTaskRunner[Any], parameters: ScoringParameters) -> None:
        self._runner = runner
        self._parameters = parameters
        self._running: dict[PrefectFuture[Any], Submitted] = {}

    def is_full(self) -> bool:
        """Return whether twice as many shards are submitted as can be scored.

        So no thread waits for that of the scheduler, which reads and collects.
        """
        return len(self._running) >= 2 * self._parameters.workers

    def staging_folder(self) -> Path:
        """Return one folder for all shards, since all threads end before the run does."""
        return self._parameters.output_dir / STAGING

    def submit(self, submitted: Submitted) -> None:
        """Submit the task of a shard."""
        arguments = {
            "shard": submitted.planned.shard,
            "staged": submitted.staged,
            "parameters": self._parameters,
        }
        future = self._runner.submit(score_shard, arguments, wait_for=submitted.lookups)
        self._running[future] = submitted

    def collect(self) -> Sequence[Scored]:
        """Wait until one of the shards ends."""
        if not self._running:
            return ()
        future = next(as_completed(list(self._running)))
        submitted = self._running.pop(future)
        for path in submitted.staged.files:
            path.unlink(missing_ok=True)
        result = submitted.failed_lookup() or future.result(raise_on_failure=False)
        return (Scored(submitted, result, [future]),)


def score_in_parallel(
    surveys: Sequence[Surveyed], planned: Sequence[PlannedShard], parameters: ScoringParameters
) -> tuple[ShardOutcome, ...]:
    """Score the planned shards that are not done, in threads of this process.

    See `score_with`.
    """
    # The pool of a flow is as large as its decorator says; this one is a parameter.
    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=parameters.workers)
    with staging_removed(parameters.output_dir), runner:
        return score_with(lambda _: ThreadPool(runner, parameters), surveys, planned, parameters)


def score_with(
    make_pool: Callable[[Progress], ShardPool],
    surveys: Sequence[Surveyed],
    planned: Sequence[PlannedShard],
    parameters: ScoringParameters,
) -> tuple[ShardOutcome, ...]:
    """Score the planned shards that are not done; one that fails does not stop the others.

    Each file is read once more, as a stream, by this thread. Its ranges of rows pass through files
    to what scores them, a few at a time, so that memory does not grow with the input.

    Args:
        make_pool: Returns what scores them, from what shows the progress.
        surveys: The files.
        planned: Their shards.
        parameters: How they are scored.

    Returns:
        An outcome for each planned shard, and for each file that could not be read, by id.

    Raises:
        OutputError: If the output folder cannot be written.
    """
    # What waits for databases has threads of its own, and keeps no core from what computes.
    waiting: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(
        max_workers=_WAITING_PER_WORKER * parameters.workers
    )
    rows = sum(shard.shard.rows for shard in planned if shard.why)
    by_file: dict[str, list[PlannedShard]] = {surveyed.file.id: [] for surveyed in surveys}
    for shard in planned:
        by_file[shard.shard.file_id].append(shard)
    with waiting, show_progress("scoring", rows) as progress, stop_threads_on_error():
        deliveries = DeliveryScheduler(waiting, parameters)
        scheduler = ShardScheduler(
            make_pool(progress), waiting, parameters, progress, deliveries.deliver
        )
        for surveyed in surveys:
            scheduler.score_file(surveyed, by_file[surveyed.file.id])
        unscored = list(_unscored(surveys, planned))
        deliveries.deliver_earlier([o.record for o in unscored if o.record and o.skipped])
        outcomes = deliveries.finish([*unscored, *scheduler.finish()])
    return tuple(sorted(outcomes, key=lambda outcome: outcome.id))


@contextmanager
def staging_removed(output_dir: Path) -> Iterator[None]:
    """Remove what was staged and not collected, as when a run is cancelled."""
    try:
        yield
    finally:
        revoke_all_leases(output_dir)


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
                **of_shard(shard.shard),
                record=shard.record,
                skipped=not shard.left,
                left=shard.left,
            )
