"""Files surveyed and shards scored in a pool of threads, few of them on their way at a time."""

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from prefect import unmapped
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from pyfunc.cpu_quota import usable_cores
from tasks.common.cancellation import stopping_others
from tasks.common.errors import DataError, OutputError
from tasks.common.progress import Progress, shown_progress
from tasks.common.task_errors import describe_error
from tasks.output.folder import STAGING, writing_to
from tasks.output.records import Shard, ShardRecord
from tasks.scoring.prefect_tasks import score_shard, survey_input
from tasks.scoring.types import InputFile, PlannedShard, ScoringParameters, ShardOutcome, Surveyed

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_WORKERS = 8


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
    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=parameters.workers)
    with runner, stopping_others():
        futures = runner.map(survey_input, {"file": list(files), "rows": unmapped(parameters.rows)})
        results = [future.result(raise_on_failure=False) for future in futures]
    return tuple(
        Surveyed(file=file, error=describe_error(result))
        if isinstance(result, Exception)
        else Surveyed(file=file, survey=result)
        for file, result in zip(files, results, strict=True)
    )


def score_in_parallel(
    surveys: Sequence[Surveyed], planned: Sequence[PlannedShard], parameters: ScoringParameters
) -> tuple[ShardOutcome, ...]:
    """Score the planned shards that are not done; one that fails does not stop the others.

    Each file is read once more, as a stream, by this thread. Its ranges go through
    files of their own to the threads that score them, a few at a time, so that memory does not
    grow with the input.

    Returns:
        An outcome for each planned shard, and for each file that could not be read.

    Raises:
        OutputError: If the output folder cannot be written; what has begun is finished before.
    """
    # The pool of a flow is as large as its decorator says; this one is a parameter.
    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=parameters.workers)
    rows = sum(shard.shard.rows for shard in planned if shard.why)
    by_file: dict[str, list[PlannedShard]] = {surveyed.file.id: [] for surveyed in surveys}
    for shard in planned:
        by_file[shard.shard.file_id].append(shard)
    with runner, shown_progress("scoring", rows) as progress, stopping_others():
        crew = _Crew(runner, parameters, progress)
        for surveyed in surveys:
            crew.score(surveyed, by_file[surveyed.file.id])
        return crew.outcomes()


class _Crew:
    """Hands shards to the pool and collects what becomes of them."""

    def __init__(
        self, runner: ThreadPoolTaskRunner[Any], parameters: ScoringParameters, progress: Progress
    ) -> None:
        self._runner = runner
        self._parameters = parameters
        self._progress = progress
        self._outcomes: list[ShardOutcome] = []
        self._fatal: OutputError | None = None
        # One more than can be scored, so that no thread waits for the reader.
        self._places = parameters.workers + 1
        self._free = threading.Semaphore(self._places)

    def score(self, surveyed: Surveyed, planned: Sequence[PlannedShard]) -> None:
        """Score what is not done of one file; returns when all of it is handed to the pool."""
        self._outcomes += [
            ShardOutcome(**_of_shard(p.shard), record=p.record, skipped=not p.left, left=p.left)
            for p in planned
            if not p.why
        ]
        waiting = {p.shard.id: p for p in planned if p.why}
        if surveyed.error:
            file = surveyed.file
            self._outcomes.append(
                ShardOutcome(id=file.id, file_id=file.id, source=file.name, error=surveyed.error)
            )
        if waiting:
            self._read(surveyed, [p.shard for p in planned], waiting)

    def outcomes(self) -> tuple[ShardOutcome, ...]:
        """Wait for all shards and return what became of them, by id.

        Raises:
            OutputError: If the output folder could not be written.
        """
        for _ in range(self._places):
            self._free.acquire()
        with suppress(OSError):  # it may be missing, or hold what another process put there
            (self._parameters.output_dir / STAGING).rmdir()
        if self._fatal is not None:
            raise self._fatal
        return tuple(sorted(self._outcomes, key=lambda outcome: outcome.id))

    def _read(
        self, surveyed: Surveyed, shards: Sequence[Shard], waiting: dict[str, PlannedShard]
    ) -> None:
        from tasks.scoring.row_ranges import rows_of_shards

        try:
            for shard, rows in rows_of_shards(surveyed, shards, set(waiting)):
                self._submit(waiting[shard.id], rows)
                del waiting[shard.id]
        except (DataError, OSError) as error:
            self._outcomes += [_failed(p.shard, error) for p in waiting.values()]

    def _submit(self, planned: PlannedShard, rows: "pa.Table") -> None:
        from tasks.scoring.row_ranges import write_staged

        shard, output_dir = planned.shard, self._parameters.output_dir
        path = output_dir / STAGING / f"{shard.id}.arrow"

        def free() -> None:
            path.unlink(missing_ok=True)
            self._free.release()

        def collect(future: PrefectFuture[Any]) -> None:
            try:
                # The pool drops what has not begun when the run is told to end.
                with suppress(CancelledError):
                    self._collect(planned, future.result(raise_on_failure=False))
            finally:
                free()

        self._free.acquire()
        try:
            if self._fatal is not None:
                raise self._fatal
            with writing_to(output_dir):
                write_staged(rows, path)
            future = self._runner.submit(
                score_shard, {"shard": shard, "staged": path, "parameters": self._parameters}
            )
        except BaseException:
            free()
            raise
        future.add_done_callback(collect)

    def _collect(self, planned: PlannedShard, result: object) -> None:
        if isinstance(result, ShardRecord):
            self._outcomes.append(
                ShardOutcome(**_of_shard(planned.shard), why=planned.why, record=result)
            )
            return
        self._progress.advance(planned.shard.rows)
        if isinstance(result, OutputError):
            self._fatal = result
        self._outcomes.append(_failed(planned.shard, result))


def _failed(shard: Shard, error: object) -> ShardOutcome:
    return ShardOutcome(**_of_shard(shard), error=describe_error(error), rows_failed=shard.rows)


def _of_shard(shard: Shard) -> dict[str, Any]:
    return {"id": shard.id, "file_id": shard.file_id, "source": shard.source}
