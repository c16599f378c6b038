"""Let versions answer a sample of what a run has published, at no cost to its rows."""

import logging
from collections.abc import Sequence
from typing import Any

from prefect import unmapped
from prefect.task_runners import ThreadPoolTaskRunner

from tasks.common.cancellation import stop_threads_on_error
from tasks.common.errors import StoppedError
from tasks.common.progress import show_progress
from tasks.common.task_errors import describe_error
from tasks.output.file_ids import shards_of_folder
from tasks.output.folder import locked_folder
from tasks.output.records import ShardRecord
from tasks.scoring.planning import remove_shards
from tasks.scoring.types import ScoringParameters, ShardOutcome
from tasks.shadow.prefect_tasks import identify_shadow, shadow_shard
from tasks.shadow.types import ShadowOptions, ShadowOutcome, ShadowPlan, shadow_folder

logger = logging.getLogger(__name__)


def answer_in_shadow(
    options: ShadowOptions, outcomes: Sequence[ShardOutcome], parameters: ScoringParameters
) -> dict[str, ShadowOutcome]:
    """Let each version of a shadow answer a sample of the rows of a run.

    The rows are published. What fails here is logged and counted, and the next run makes up for it.

    Args:
        options: Which versions, and how large a sample.
        outcomes: The shards of the run; those without a record have no rows.
        parameters: How they were scored.

    Returns:
        What became of each version, by its reference.

    Raises:
        StoppedError: If the run is cancelled.
    """
    records = [outcome.record for outcome in outcomes if outcome.record is not None]
    found = {}
    for reference in options.shadow:
        try:
            found[reference] = _answer(reference, options, records, parameters)
        except StoppedError:
            raise
        except Exception as error:  # noqa: BLE001 -- the rows are published, whatever fails here
            found[reference] = ShadowOutcome(error=describe_error(error))
        if problem := _describe_problem(found[reference]):
            logger.warning("shadow %s: %s; the rows of the run are published", reference, problem)
    return found


def _answer(
    reference: str,
    options: ShadowOptions,
    records: Sequence[ShardRecord],
    parameters: ScoringParameters,
) -> ShadowOutcome:
    from tasks.shadow.planning import shadow_parameters, unanswered

    state = identify_shadow(reference, parameters, options.audit_days, return_state=True)
    plan = state.result(raise_on_failure=False)
    if not isinstance(plan, ShadowPlan):
        return ShadowOutcome(error=describe_error(plan))
    if plan.model is None:
        logger.info("shadow %s: %s", reference, plan.reason)
        return ShadowOutcome(reason=plan.reason)
    folder = shadow_folder(parameters.output_dir, plan.model.uri)
    own = shadow_parameters(plan, parameters, folder, options.shadow_fraction)
    with locked_folder(folder, f"shadow {reference}"):
        remove_shards(shards_of_folder(folder) - shards_of_folder(parameters.output_dir), folder)
        todo, done = unanswered(records, own)
        results = _answer_in_parallel(todo, parameters, own)
    failures = {
        record.shard.id: describe_error(result)
        for record, result in zip(todo, results, strict=True)
        if not isinstance(result, ShardRecord)
    }
    done += [result for result in results if isinstance(result, ShardRecord)]
    return ShadowOutcome(
        version=plan.model.uri,
        answered_shards=len(done),
        answered_rows=sum(record.counts.scored + record.counts.rejected for record in done),
        failures=failures,
    )


def _answer_in_parallel(
    records: Sequence[ShardRecord], parameters: ScoringParameters, own: ScoringParameters
) -> list[object]:
    """Return the record of each shard's sample, or its error."""
    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=parameters.workers)
    rows = sum(record.shard.rows for record in records)
    with runner, show_progress("shadow", rows), stop_threads_on_error():
        arguments = {
            "record": records,
            "source": unmapped(parameters.output_dir),
            "parameters": unmapped(own),
        }
        futures = runner.map(shadow_shard, arguments)
        return [future.result(raise_on_failure=False) for future in futures]


def _describe_problem(outcome: ShadowOutcome) -> str:
    if not outcome.failures:
        return outcome.error
    shard, error = next(iter(outcome.failures.items()))
    return f"{len(outcome.failures)} shards failed; the first, {shard}: {error}"
