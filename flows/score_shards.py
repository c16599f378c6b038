"""Score files with a registered pipeline, shard after shard, and publish Parquet."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from flows.parameters import described, form, record_from
from flows.project_defaults import INPUTS, OUTPUT, READING, with_project
from flows.run_requests import LANGUAGE, ScoringRequest
from tasks.cluster.addresses import check_shared_services, resolve_runner
from tasks.cluster.prefect_tasks import check_cluster
from tasks.cluster.types import RUNNER, Runner
from tasks.common.console import print_table
from tasks.common.errors import OutputInUseError, SupersededError
from tasks.common.task_errors import describe_error, reporting_failures
from tasks.delivery.types import DeliverRejectsTo, DeliverTo
from tasks.ingestion import text_format
from tasks.inputs.input_files import temporary_downloads
from tasks.inputs.types import Inputs, Surveyed
from tasks.output.folder import locked_folder, resolve_output_folder
from tasks.output.language_policy import Languages, LanguageThreshold, PolicyName
from tasks.output.row_parameters import (
    AllScores,
    InputLabelColumn,
    InputTextColumn,
    ReviewBelow,
    RowParameters,
)
from tasks.output.traffic_split import SplitChoice, SplitKey
from tasks.reports.prefect_tasks import (
    link_scoring_report,
    log_to_mlflow,
    logged_run,
    report_shadow,
)
from tasks.reports.types import ReportOptions
from tasks.scoring import deliveries
from tasks.scoring import types as scoring
from tasks.scoring.planning import remove_obsolete_shards
from tasks.scoring.prefect_tasks import (
    check_champion,
    copy_tables,
    find_inputs,
    identify_challenger,
    identify_model,
    plan_shards,
    prove_complete,
    publish_summary,
    report_dry_run,
)
from tasks.scoring.success import (
    cancelled_state,
    raise_if_failed,
    raise_if_undelivered,
    raise_if_unrecorded,
    raise_if_would_fail,
    raise_together,
)
from tasks.scoring.task_runner import default_workers, score_in_parallel, survey_in_parallel
from tasks.shadow import types as shadows
from tasks.shadow.shadow_runner import answer_in_shadow
from tasks.shadow.types import SHADOWS

OPTIONS, ROWS = scoring.OPTIONS, with_project(RowParameters)


@reporting_failures
@form(
    "inputs",
    "output_dir",
    "text_column",
    "label_column",
    "model_uri",
    last=(
        "shard_rows",
        "language_threshold",
        "use_cache",
        "batch_tokens",
        "workers",
        "separator",
        "encoding",
        "header",
        "all_scores",
        "shadow_fraction",
        "audit_days",
        "while_champion",
        "runner",
    ),
)
@flow(name="score-shards")
@described
def score_shards(
    inputs: Inputs = INPUTS,
    output_dir: scoring.OutputFolder = OUTPUT,
    model_uri: scoring.ModelUri = OPTIONS.model_uri,
    text_column: InputTextColumn = ROWS.text_column,
    # Not of the project file: new files have no labels, and would fail without the column.
    label_column: InputLabelColumn = None,
    shard_rows: scoring.ShardRows = OPTIONS.shard_rows,
    language_policy: PolicyName = LANGUAGE.policy,
    languages: Languages = LANGUAGE.languages,
    language_threshold: LanguageThreshold = LANGUAGE.threshold,
    use_cache: scoring.UseCache = OPTIONS.use_cache,
    settle_seconds: scoring.SettleSeconds = OPTIONS.settle_seconds,
    allow_empty: scoring.AllowEmpty = OPTIONS.allow_empty,
    resume: scoring.Resume = OPTIONS.resume,
    only_failed: scoring.OnlyFailed = OPTIONS.only_failed,
    dry_run: scoring.DryRun = OPTIONS.dry_run,
    max_failed_shards: scoring.MaxFailedShards = OPTIONS.max_failed_shards,
    max_rejected_fraction: scoring.MaxRejectedFraction = OPTIONS.max_rejected_fraction,
    batch_tokens: scoring.BatchTokens = OPTIONS.batch_tokens,
    workers: scoring.Workers = OPTIONS.workers,
    report_examples: scoring.ReportExamples = OPTIONS.report_examples,
    output_format: scoring.Format = OPTIONS.output_format,
    attach_mib: scoring.AttachMib = OPTIONS.attach_mib,
    review_below: ReviewBelow = ROWS.review_below,
    separator: text_format.Separator = READING.separator,
    encoding: text_format.Encoding = READING.encoding,
    header: text_format.Header = READING.header,
    all_scores: AllScores = ROWS.all_scores,
    split: SplitChoice = OPTIONS.split,
    split_key: SplitKey = OPTIONS.split_key,
    deliver_to: DeliverTo = OPTIONS.deliver_to,
    deliver_rejects_to: DeliverRejectsTo = OPTIONS.deliver_rejects_to,
    shadow: shadows.ShadowVersions = SHADOWS.shadow,
    shadow_fraction: shadows.ShadowFraction = SHADOWS.shadow_fraction,
    audit_days: shadows.AuditDays = SHADOWS.audit_days,
    while_champion: scoring.WhileChampion = OPTIONS.while_champion,
    runner: Runner = RUNNER,
) -> dict[str, Any]:
    """Score shard after shard of files and publish their predictions, each row once.

    Returns:
        The summary: rows, shards, model calls made and avoided, labels, languages, rejects; or,
        if another run holds the output folder, the state of a cancelled run.
    """
    given, started = locals(), datetime.now(UTC)
    request = record_from(ScoringRequest, given)
    limits = record_from(scoring.FailureLimits, given)
    folder, runner = resolve_output_folder(output_dir), resolve_runner(runner)
    check_shared_services(runner)
    sole = nullcontext() if dry_run else locked_folder(folder, flow_run.name or "score-shards")
    try:
        with sole, temporary_downloads(folder):
            found = find_inputs(
                tuple(inputs), folder, settle_seconds=settle_seconds, allow_empty=allow_empty
            )
            parameters = _with_versions(request, given | {"output_dir": folder})
            if while_champion:
                check_champion(parameters.model)
            if not dry_run:
                deliveries.check_targets(parameters)
            if runner != scoring.THREADS and not dry_run:
                parameters = _with_cluster(runner, parameters)
            surveys = survey_in_parallel(found.files, parameters)
            planned = plan_shards(surveys, parameters)
            if dry_run:
                report = report_dry_run(surveys, planned, parameters)
                raise_if_would_fail(report, limits)
                return report
            unprepared = deliveries.prepare_targets(surveys, parameters)
            remove_obsolete_shards(planned, folder)
            outcomes = _score(surveys, planned, parameters)
            outcomes = copy_tables(outcomes, parameters)
            prove_complete(surveys, outcomes, parameters)
            summary = publish_summary(parameters, found, surveys, outcomes, started)
            logged = log_to_mlflow(
                parameters,
                summary,
                outcomes,
                started=started,
                options=record_from(ReportOptions, given),
                limits=limits,
                return_state=True,
            )
    except (OutputInUseError, SupersededError) as error:
        return cancelled_state(error)
    # Its state is no matter: what is published stays so without links.
    link_scoring_report(
        summary, logged_run(logged), parameters, outcomes, report_examples, return_state=True
    )
    raise_together(
        lambda: raise_if_failed(summary, limits),
        lambda: raise_if_undelivered(summary, unprepared),
        lambda: deliveries.complete_deliveries(planned, outcomes, parameters),
        lambda: raise_if_unrecorded(logged),
        # The last: whatever became of the run, and nothing of it waits for the sample.
        lambda: summary.update(_answer_in_shadow(given, outcomes, parameters)),
    )
    return summary


def _with_cluster(runner: str, parameters: scoring.ScoringParameters) -> scoring.ScoringParameters:
    """Return how the run scores, with the workers of a cluster."""
    refused = check_cluster(runner, parameters)
    return parameters.model_copy(update={"runner": runner, "refused_workers": refused})


def _score(
    surveys: Sequence[Surveyed],
    planned: Sequence[scoring.PlannedShard],
    parameters: scoring.ScoringParameters,
) -> tuple[scoring.ShardOutcome, ...]:
    """Score the planned shards in threads, or on the workers of a cluster."""
    if parameters.runner == scoring.THREADS:
        return score_in_parallel(surveys, planned, parameters)
    # Dask is not installed where no cluster is used.
    from tasks.cluster.cluster_runner import score_on_cluster

    return score_on_cluster(surveys, planned, parameters)


def _answer_in_shadow(
    given: Mapping[str, Any],
    outcomes: tuple[scoring.ShardOutcome, ...],
    parameters: scoring.ScoringParameters,
) -> dict[str, Any]:
    """Let other versions answer a sample, report it, and return what the summary has of it."""
    options, shown = record_from(shadows.ShadowOptions, given), {}
    for reference, outcome in answer_in_shadow(options, outcomes, parameters).items():
        shown[reference] = outcome.model_dump(exclude_defaults=True)
        if outcome.answered_shards:
            state = report_shadow(parameters, outcome, given["report_examples"], return_state=True)
            shown[reference] |= _compared(state)
        print_table(f"Shadow {reference}", shown[reference])
    return {"shadow": shown} if shown else {}


def _compared(state: State[Any]) -> dict[str, Any]:
    """Return the figures of a comparison, or why there are none."""
    found = state.result(raise_on_failure=False)
    return found if isinstance(found, dict) else {"not_compared": describe_error(found)}


def _with_versions(request: ScoringRequest, given: Mapping[str, Any]) -> scoring.ScoringParameters:
    """Return how the run scores, with the versions that its aliases mean now."""
    asked, label_column = request.asked_split, given["label_column"] or None
    rows = record_from(
        RowParameters, {**given, "label_column": label_column, "language": request.language}
    )
    model = identify_model(request.model_uri, rows)
    challenger = identify_challenger(asked, model, rows) if asked else None
    rows = rows.model_copy(update={"traffic": request.split_with(challenger)})
    found = {
        "model": model,
        "challenger": challenger,
        "rows": rows.with_business(*(m.business for m in (model, challenger) if m)),
        "reading": record_from(text_format.ReadOptions, given),
        "workers": given["workers"] or default_workers(),
        "flow_run_id": flow_run.id or "",
        "runner": scoring.THREADS,  # until the workers of a cluster are checked
    }
    return record_from(scoring.ScoringParameters, {**given, **found})


if __name__ == "__main__":
    from flows.command_line import run

    run(
        score_shards,
        request=ScoringRequest,
        check=lambda parameters: check_shared_services(parameters.get("runner", RUNNER)),
        orchestrates=lambda parameters: not parameters.get("dry_run"),
        continues="with the shards that are left",
    )
