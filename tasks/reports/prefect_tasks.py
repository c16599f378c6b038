"""Prefect tasks that log reports, link them as artifacts and explain a row."""

from datetime import UTC, datetime
from typing import Any

from prefect import task
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.client.schemas.objects import State

from tasks.common.task_errors import (
    RETRY_BUSY_MLFLOW,
    RETRY_MLFLOW,
    RETRY_ONCE,
    describe_error,
    redacted_errors,
    step,
)
from tasks.common.urls import resolved_path
from tasks.comparison.types import ComparisonReport
from tasks.reports.types import LearningRun, LoggedRun, ReportOptions
from tasks.scoring.types import FailureLimits, ScoringParameters, ShardOutcome
from tasks.shadow.types import FoundShadow, ShadowOutcome, shadow_folder
from tasks.training.types import FineTuned


@task(name="log to MLflow", **RETRY_BUSY_MLFLOW)
def log_to_mlflow(
    parameters: ScoringParameters,
    summary: dict[str, Any],
    outcomes: tuple[ShardOutcome, ...],
    *,
    started: datetime,
    options: ReportOptions,
    limits: FailureLimits,
) -> LoggedRun:
    """Log a scoring run, with its manifest, its report and its predictions."""
    from tasks.reports.scoring_run import log_scoring_run

    return log_scoring_run(
        parameters, summary, outcomes, started=started, options=options, limits=limits
    )


def logged_run(state: State[Any]) -> LoggedRun | None:
    """Return the result of `log_to_mlflow`, or None if it failed."""
    result = state.result(raise_on_failure=False)
    return result if isinstance(result, LoggedRun) else None


@task(name="link report", **RETRY_ONCE)
def link_scoring_report(
    summary: dict[str, Any],
    logged: LoggedRun | None,
    parameters: ScoringParameters,
    outcomes: tuple[ShardOutcome, ...],
    examples: int,
) -> None:
    """Create Prefect artifacts: links to report and predictions, a sample, and a short summary.

    Args:
        summary: Summary by `tasks.scoring.summary.publish_summary`.
        logged: The run in MLflow, if it was logged.
        parameters: What the shards were scored with.
        outcomes: One for each shard.
        examples: Number of scored rows of the sample for each label.
    """
    from tasks.reports.row_examples import sample_rows
    from tasks.reports.summaries import downloads_markdown, scoring_markdown

    if logged is not None and logged.report_url:
        _link_report("scoring-report", logged.report_url, logged.run_id)
    if sample := sample_rows(parameters, outcomes, examples):
        create_table_artifact(
            key="scored-rows", table=sample, description="A sample of the predictions"
        )
    create_markdown_artifact(
        key="scored-files",
        markdown=downloads_markdown(parameters, logged),
        description="Where the predictions are",
    )
    create_markdown_artifact(
        key="scoring-summary",
        markdown=scoring_markdown(summary, logged),
        description="What was scored",
    )


@task(name="report training", **RETRY_MLFLOW)
def report_training(fine_tuned: FineTuned, missing: dict[str, str]) -> dict[str, str]:
    """Log a report to the training run, once; create Prefect artifacts: its link and a summary.

    Args:
        fine_tuned: The trained model.
        missing: Plots that could not be made, with the reason.

    Returns:
        The same, and the report if it is missing or incomplete.
    """
    from tasks.reports.summaries import training_markdown
    from tasks.reports.training_report import log_training_report

    logged = log_training_report(fine_tuned.run_id)
    missing = missing | ({"report": logged.error} if logged.error else {})
    if logged.url:
        _link_report("training-report", logged.url, fine_tuned.run_id)
    create_markdown_artifact(
        key="training-summary",
        markdown=training_markdown(logged, missing, reused=fine_tuned.reused),
        description="How well the trained model does",
    )
    return missing


def missing_files(missing: dict[str, str], state: State[Any]) -> dict[str, Any]:
    """Return what a flow reports of files that could not be made: their number and the reasons.

    Args:
        missing: Plots that could not be made, with the reason.
        state: Of `report_training`; one that failed left no report.
    """
    found = state.result(raise_on_failure=False)
    if not isinstance(found, dict):
        found = missing | {"report": f"not made ({describe_error(found)})"}
    return {"not_made": len(found), "not_made_because": found} if found else {}


@task(name="publish comparison", **RETRY_MLFLOW)
def publish_comparison(report: ComparisonReport, flow_run_id: str) -> dict[str, Any]:
    """Log a comparison to MLflow, link its report, and return its summary."""
    from tasks.reports.comparison_report import log_comparison

    run_id, url = log_comparison(report, flow_run_id)
    _link_report("comparison-report", url, run_id)
    found = report.comparison
    return {
        "champion": found.present,
        "challenger": found.other,
        **report.metrics(),
        "shards_left_out": len(found.left_out),
        "report": url,
    }


@task(name="publish learning", **RETRY_MLFLOW)
def publish_learning(run: LearningRun, flow_run_id: str) -> str:
    """Log what became of feedback to MLflow, link its report, and return the report's address."""
    from tasks.reports.learning_run import log_learning

    with redacted_errors("report"):
        run_id, url = log_learning(run, flow_run_id)
    _link_report("learning-report", url, run_id)
    return url


def report_or_reason(state: State[Any]) -> str:
    """Return the address of a report, or why there is none.

    Args:
        state: Of `publish_learning`.
    """
    found = state.result(raise_on_failure=False)
    return found if isinstance(found, str) else f"not made ({describe_error(found)})"


@task(name="report shadow", task_run_name="report {shadow.version}", **RETRY_MLFLOW)
def report_shadow(
    parameters: ScoringParameters, shadow: ShadowOutcome, examples: int
) -> dict[str, Any]:
    """Compare all samples that a shadow has answered, and publish the comparison."""
    from tasks.reports.comparison_report import log_comparison
    from tasks.shadow.answers import compare_answers

    answers = FoundShadow(
        versions=(parameters.model.uri, shadow.version),
        folder=shadow_folder(parameters.output_dir, shadow.version),
    )
    found = compare_answers(parameters.output_dir, answers, label_column="", examples=examples)
    report = ComparisonReport(comparison=found, speeds=None, compared=datetime.now(UTC))
    run_id, url = log_comparison(report, parameters.flow_run_id)
    _link_report("shadow-report", url, run_id)
    return {"days": len(found.by_night), **report.metrics(), "report": url}


@step(
    name="explain row",
    **RETRY_MLFLOW,
    persist_result=False,  # it holds the text of a row
)
def explain_row(output_dir: str, shard: str, row: int, *, verify: bool) -> dict[str, Any]:
    """Print and return the lineage of a row; see `tasks.lineage.trace.trace_row`."""
    from tasks.lineage.trace import trace_row

    folder = resolved_path("output_dir", output_dir, "a folder on this machine")
    return trace_row(folder, shard, row, verify=verify)


def _link_report(key: str, url: str, run_id: str) -> None:
    create_link_artifact(
        link=url,
        link_text="Report in MLflow",
        key=key,
        description=f"The report of MLflow run {run_id}",
    )
