"""A scoring run's record in MLflow, with the report that people look at."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import mlflow

from tasks.common.errors import DataError
from tasks.rejected_examples import Example, rejected_examples
from tasks.report_page import render
from tasks.run_figures import FIGURES_FILE, REPORT, LoggedRun, RunFigures, figures_of
from tasks.scoring_history import previous_run, trained_distribution
from tasks.scoring_report import ScoringRun, scoring_page
from tasks.scoring_tables import reasons_shown
from tasks.scoring_types import EXPERIMENT, ScoringParameters, ShardOutcome
from tasks.tracking import connect, experiment_id, git_commit, report_url, why_no_report

logger = logging.getLogger(__name__)


def log(
    parameters: ScoringParameters,
    summary: Mapping[str, Any],
    outcomes: Sequence[ShardOutcome],
    *,
    started: datetime,
    examples: int,
) -> LoggedRun:
    """Log a run with its parameters, figures, manifest and report.

    A run without a report is still a record; the tag `report_error` says why.

    Args:
        parameters: What the shards were scored with.
        summary: What `tasks.summary.summarise` returned.
        outcomes: One for each shard.
        started: When the run began.
        examples: Rejected rows that the report quotes for each reason.

    Raises:
        MlflowException: If MLflow cannot be reached or its database is locked.
    """
    connect()
    experiment, commit = experiment_id(EXPERIMENT), git_commit()
    figures = figures_of(parameters, summary, outcomes, started)
    # What fails inside leaves a run that is marked as failed, which no other is compared with.
    with mlflow.start_run(
        experiment_id=experiment,
        run_name=parameters.output_dir.name,
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
        mlflow.log_metrics(figures.metrics)
        mlflow.log_artifact(str(parameters.output_dir / "manifest.json"))
        mlflow.log_dict(figures.model_dump(mode="json"), FIGURES_FILE)
        previous = previous_run(parameters.output_dir)
        page, trouble = _report(parameters, outcomes, figures, previous, commit, examples)
        if page:
            mlflow.log_text(page, REPORT)
        if trouble:
            logger.warning("%s", trouble)
            mlflow.set_tag("report_error", trouble)
    run_id = str(run.info.run_id)
    return LoggedRun(
        run_id=run_id,
        report_url=report_url(experiment, run_id, REPORT) if page else "",
        report_error=trouble,
        figures=figures,
        previous=previous,
    )


def _parameters(parameters: ScoringParameters) -> dict[str, Any]:
    language = parameters.rows.language.model_dump(mode="json")
    return (
        parameters.rows.model_dump(mode="json", exclude={"language"})
        | {f"language_{name}": value for name, value in language.items()}
        | parameters.model_dump(
            mode="json", include={"shard_rows", "use_cache", "batch_tokens", "workers"}
        )
    )


def _report(
    parameters: ScoringParameters,
    outcomes: Sequence[ShardOutcome],
    figures: RunFigures,
    previous: RunFigures | None,
    commit: str,
    examples: int,
) -> tuple[str, str]:
    """Return the page, or an empty string, and what went wrong with it, in one line."""
    try:
        quoted, trouble = _examples(parameters, outcomes, figures, examples)
        page = scoring_page(
            ScoringRun(
                parameters=parameters,
                outcomes=outcomes,
                figures=figures,
                previous=previous,
                trained=trained_distribution(parameters.model.uri),
                git_commit=commit,
                examples=quoted,
                trouble=trouble,
            )
        )
        return render(page), f"report: {trouble}" if trouble else ""
    except Exception as error:  # noqa: BLE001 -- whatever stops the page must not cost the record
        return "", why_no_report(error)


def _examples(
    parameters: ScoringParameters,
    outcomes: Sequence[ShardOutcome],
    figures: RunFigures,
    examples: int,
) -> tuple[dict[str, list[Example]], str]:
    try:
        return rejected_examples(parameters, outcomes, reasons_shown(figures), examples), ""
    except DataError as error:
        return {}, str(error)
