"""Log a scoring run to MLflow: parameters, metrics, manifest and HTML report."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import mlflow

from tasks.common.errors import DataError
from tasks.reports.history import previous_run, training_distribution
from tasks.reports.page import plot_errors, render_page
from tasks.reports.rejected_examples import Example, find_rejected_examples
from tasks.reports.scoring_report import ScoringRun, scoring_page
from tasks.reports.tables import top_reasons
from tasks.reports.types import REPORT, STATISTICS_FILE, LoggedRun, RunStatistics
from tasks.scoring.types import ScoringParameters, ShardOutcome
from tasks.tracking.mlflow_client import (
    connect,
    ensure_experiment,
    git_commit,
    missing_file_reason,
    report_url,
)
from tasks.tracking.names import MAX_RUN_NAME, SCORING_EXPERIMENT

logger = logging.getLogger(__name__)


def log_scoring_run(
    parameters: ScoringParameters,
    summary: Mapping[str, Any],
    outcomes: Sequence[ShardOutcome],
    *,
    started: datetime,
    examples: int,
) -> LoggedRun:
    """Log a run with its parameters, metrics, manifest and report.

    A run whose report fails is logged without it, with the error in the tag `report_error`.

    Args:
        parameters: What the shards were scored with.
        summary: Summary by `tasks.scoring.summary.summarise_outcomes`.
        outcomes: One for each shard.
        started: When the run began.
        examples: Number of rejected rows that the report quotes for each reason.

    Raises:
        MlflowException: If MLflow cannot be reached or its database is locked.
    """
    connect()
    experiment, commit = ensure_experiment(SCORING_EXPERIMENT), git_commit()
    statistics = _statistics(parameters, summary, outcomes, started)
    # MLflow marks the run as failed if this raises; such runs are not compared with.
    with mlflow.start_run(
        experiment_id=experiment,
        run_name=parameters.output_dir.name[:MAX_RUN_NAME],
        tags={
            "model_uri": parameters.model.uri,
            "fingerprint": parameters.model.fingerprint,
            "engine": parameters.model.engine,
            "precision": parameters.model.precision,
            "output_dir": str(parameters.output_dir),
            "prefect_flow_run_id": parameters.flow_run_id,
            "git_commit": commit,
        },
    ) as run:
        mlflow.log_params(_parameters(parameters))
        mlflow.log_metrics(statistics.metrics)
        mlflow.log_artifact(str(parameters.output_dir / "manifest.json"))
        mlflow.log_dict(statistics.model_dump(mode="json"), STATISTICS_FILE)
        previous = previous_run(parameters.output_dir)
        page, error = _render_report(parameters, outcomes, statistics, previous, commit, examples)
        if page:
            mlflow.log_text(page, REPORT)
        if error:
            logger.warning("%s", error)
            mlflow.set_tag("report_error", error)
    run_id = str(run.info.run_id)
    return LoggedRun(
        run_id=run_id,
        report_url=report_url(experiment, run_id, REPORT) if page else "",
        report_error=error,
        statistics=statistics,
        previous=previous,
    )


def _statistics(
    parameters: ScoringParameters,
    summary: Mapping[str, Any],
    outcomes: Sequence[ShardOutcome],
    started: datetime,
) -> RunStatistics:
    scores = [outcome.record.scores for outcome in outcomes if outcome.record is not None]
    return RunStatistics(
        started=started,
        model_uri=parameters.model.uri,
        engine=summary["engine"],
        metrics=dict(_metrics(summary)),
        labels=summary["labels"],
        languages=summary["languages"],
        reasons=summary["rejected_because"],
        scores=tuple(map(sum, zip(*scores, strict=True))),
        warnings=tuple(summary["row_warnings"]),
    )


def _metrics(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in fields.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", float(value)
        elif name == "model_calls_avoided":
            yield from _metrics(value, prefix=f"{name}_by_")


def _parameters(parameters: ScoringParameters) -> dict[str, Any]:
    language = parameters.rows.language.model_dump(mode="json")
    return (
        parameters.rows.model_dump(mode="json", exclude={"language"})
        | {f"language_{name}": value for name, value in language.items()}
        | parameters.model_dump(
            mode="json", include={"shard_rows", "use_cache", "batch_tokens", "workers"}
        )
    )


def _render_report(
    parameters: ScoringParameters,
    outcomes: Sequence[ShardOutcome],
    statistics: RunStatistics,
    previous: RunStatistics | None,
    commit: str,
    examples: int,
) -> tuple[str, str]:
    """Return the page, or an empty string, and the error that made it incomplete or missing."""
    try:
        quoted, error = _quoted_examples(parameters, outcomes, statistics, examples)
        page = scoring_page(
            ScoringRun(
                parameters=parameters,
                outcomes=outcomes,
                statistics=statistics,
                previous=previous,
                training_distribution=training_distribution(parameters.model.uri),
                git_commit=commit,
                examples=quoted,
                examples_error=error,
            )
        )
        errors = [*plot_errors(page), *([error] if error else [])]
        return render_page(page), f"report: {'; '.join(errors)}" if errors else ""
    except Exception as caught:  # noqa: BLE001 -- the run is logged even if its page fails
        return "", f"report: {missing_file_reason(caught)}"


def _quoted_examples(
    parameters: ScoringParameters,
    outcomes: Sequence[ShardOutcome],
    statistics: RunStatistics,
    examples: int,
) -> tuple[dict[str, list[Example]], str]:
    try:
        return find_rejected_examples(parameters, outcomes, top_reasons(statistics), examples), ""
    except DataError as error:
        return {}, str(error)
