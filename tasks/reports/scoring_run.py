"""Log a scoring run to MLflow: parameters, metrics, manifest and HTML report."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow

from tasks.common.errors import DataError
from tasks.output.downloads import write_download
from tasks.output.records import FORMAT_SUFFIXES
from tasks.pages.page import plot_errors, render_page
from tasks.reports.history import previous_run, training_distribution
from tasks.reports.row_examples import (
    Example,
    ScoredExample,
    find_rejected_examples,
    find_scored_examples,
)
from tasks.reports.scoring_report import ScoringRun, scoring_page
from tasks.reports.tables import top_reasons
from tasks.reports.types import (
    PREDICTIONS,
    REPORT,
    STATISTICS_FILE,
    Download,
    LoggedRun,
    ReportOptions,
    RunStatistics,
)
from tasks.scoring.success import failure_of
from tasks.scoring.types import FailureLimits, ScoringParameters, ShardOutcome
from tasks.tracking.mlflow_client import (
    connect,
    download_url,
    ensure_experiment,
    git_commit,
    missing_file_reason,
    report_url,
)
from tasks.tracking.names import (
    CHALLENGER_TAG,
    MAX_RUN_NAME,
    SCORING_EXPERIMENT,
    SERIES_TAG,
    RegisteredModel,
    series_of,
)
from tasks.tracking.runs import end_as_failed, killed_if_interrupted

logger = logging.getLogger(__name__)

_UNUSUAL = re.compile(r"[^A-Za-z0-9._-]")

_MOST_FILES = 100  # each is a request to MLflow's server


def log_scoring_run(
    parameters: ScoringParameters,
    summary: Mapping[str, Any],
    outcomes: Sequence[ShardOutcome],
    *,
    started: datetime,
    options: ReportOptions,
    limits: FailureLimits,
) -> LoggedRun:
    """Log a run with its parameters, metrics, manifest, predictions and report.

    A run whose report or predictions fail is logged without, with the error in `report_error`. One
    that is a failure ends as failed in MLflow, with all that it logged.

    Args:
        parameters: What the shards were scored with.
        summary: Summary by `tasks.scoring.summary.summarise_outcomes`.
        outcomes: One for each shard.
        started: When the run began.
        options: What is logged of the rows.
        limits: What may go wrong before the run is a failure.

    Raises:
        MlflowException: If MLflow cannot be reached or its database is locked.
    """
    connect()
    experiment, commit = ensure_experiment(SCORING_EXPERIMENT), git_commit()
    statistics = _statistics(parameters, summary, outcomes, started)
    name = RegisteredModel.from_uri(parameters.model.uri).name
    series = series_of(name, parameters.model.labels)
    # MLflow marks the run as failed if this raises; such runs are not compared with.
    active = mlflow.start_run(
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
            SERIES_TAG: series,
        }
        | ({CHALLENGER_TAG: parameters.challenger.uri} if parameters.challenger else {}),
    )
    with killed_if_interrupted(active) as run:
        mlflow.log_params(_parameters(parameters))
        mlflow.log_metrics(statistics.metrics)
        mlflow.log_artifact(str(parameters.output_dir / "manifest.json"))
        mlflow.log_dict(statistics.model_dump(mode="json"), STATISTICS_FILE)
        run_id = str(run.info.run_id)
        downloads, unattached = _attach_predictions(
            run_id, parameters, outcomes, options.attach_mib
        )
        scored = ScoringRun(
            parameters=parameters,
            outcomes=outcomes,
            statistics=statistics,
            previous=previous_run(parameters.output_dir, series),
            git_commit=commit,
            downloads=downloads,
            arms=summary.get("arms", {}),
        )
        page, incomplete = _render_report(scored, options.report_examples)
        if page:
            mlflow.log_text(page, REPORT)
        if error := "; ".join(filter(None, (unattached, incomplete))):
            logger.warning("%s", error)
            mlflow.set_tag("report_error", error)
        if failure := failure_of(summary, limits):
            end_as_failed(failure)
    return LoggedRun(
        run_id=run_id,
        report_url=report_url(experiment, run_id, REPORT) if page else "",
        report_error=error,
        downloads=downloads,
        statistics=statistics,
        previous=scored.previous,
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
        deciders=summary.get("decided_by", {}),
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
        elif name == "arms":
            for arm, counted in value.items():
                yield from _metrics(counted, prefix=f"{arm}_")
        elif name == "decided_by":
            yield from _metrics(value, prefix=f"{prefix}rows_{name}_")


def _parameters(parameters: ScoringParameters) -> dict[str, Any]:
    language, split = parameters.rows.language, parameters.rows.traffic
    return (
        parameters.rows.model_dump(mode="json", exclude={"language", "traffic"})
        | {f"language_{name}": value for name, value in language.model_dump(mode="json").items()}
        | {f"split_{name}": value for name, value in (split.model_dump() if split else {}).items()}
        | parameters.reading.model_dump(mode="json", exclude_defaults=True)
        | parameters.model_dump(
            mode="json", include={"shard_rows", "use_cache", "batch_tokens", "workers"}
        )
    )


def _attach_predictions(
    run_id: str,
    parameters: ScoringParameters,
    outcomes: Sequence[ShardOutcome],
    attach_mib: int,
) -> tuple[tuple[Download, ...], str]:
    """Attach the predictions of the files of which this run scored or copied rows.

    A file that is as before stays with the run that scored it, so that the runs of a schedule do
    not attach the same again.

    Returns:
        The files, and the error that ended this.
    """
    downloads: list[Download] = []
    room = attach_mib * 2**20
    try:
        for shards in _changed_files(outcomes) if room else ():
            space = room if len(downloads) < _MOST_FILES else 0
            found = _attach_file(run_id, parameters, shards, space)
            room -= found.bytes
            downloads.append(found)
    except Exception as caught:  # noqa: BLE001 -- the run is logged even without them
        return tuple(downloads), f"predictions: {missing_file_reason(caught)}"
    return tuple(downloads), ""


def _changed_files(outcomes: Sequence[ShardOutcome]) -> list[list[ShardOutcome]]:
    files: dict[str, list[ShardOutcome]] = {}
    for outcome in outcomes:
        if outcome.record is not None:
            files.setdefault(outcome.file_id, []).append(outcome)
    return [
        shards
        for shards in files.values()
        if any(shard.copied or not shard.skipped for shard in shards)
    ]


def _attach_file(
    run_id: str, parameters: ScoringParameters, shards: Sequence[ShardOutcome], room: int
) -> Download:
    records = [shard.record for shard in shards if shard.record is not None]
    output_dir, output_format = parameters.output_dir, parameters.output_format
    rows = sum(record.counts.scored for record in records)
    found = Download(source=shards[0].source, rows=rows)
    with TemporaryDirectory(prefix="millstream-") as folder:
        # MLflow refuses some characters in names of artifacts; the digest at the end is unique.
        name = _UNUSUAL.sub("_", shards[0].file_id)
        path = Path(folder) / f"{name}{FORMAT_SUFFIXES[output_format]}"
        if not room or not write_download(output_dir, records, output_format, path, room):
            left = "not attached: beyond attach_mib, or the number of files that are attached"
            return found.model_copy(update={"left": left})
        mlflow.log_artifact(str(path), PREDICTIONS)
        artifact = f"{PREDICTIONS}/{path.name}"
        attached = {
            "path": artifact,
            "url": download_url(run_id, artifact),
            "bytes": path.stat().st_size,
        }
        return found.model_copy(update=attached)


def _render_report(run: ScoringRun, examples: int) -> tuple[str, str]:
    """Return the page, or an empty string, and the error that made it incomplete or missing."""
    try:
        quoted, sample, error = _quoted_examples(run, examples)
        known = training_distribution(run.parameters.model.uri)
        page = scoring_page(
            replace(
                run,
                training_distribution=known,
                examples=quoted,
                sample=sample,
                examples_error=error,
            )
        )
        errors = [*plot_errors(page), *([error] if error else [])]
        return render_page(page), f"report: {'; '.join(errors)}" if errors else ""
    except Exception as caught:  # noqa: BLE001 -- the run is logged even if its page fails
        return "", f"report: {missing_file_reason(caught)}"


def _quoted_examples(
    run: ScoringRun, most: int
) -> tuple[dict[str, list[Example]], list[ScoredExample], str]:
    """Return rejected rows by reason, scored rows, and why there are none."""
    try:
        sample = find_scored_examples(run.parameters, run.outcomes, most)
        reasons = top_reasons(run.statistics)
        return find_rejected_examples(run.parameters, run.outcomes, reasons, most), sample, ""
    except DataError as error:
        return {}, [], str(error)
