"""What a scoring run is compared with: the run before it, and the test rows of its model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from pydantic import ValidationError

from tasks.dataset.types import Split
from tasks.reports.types import STATISTICS_FILE, RunStatistics
from tasks.tracking.mlflow_client import (
    connect,
    ensure_experiment,
    read_logged_json,
    run_start_time,
)
from tasks.tracking.names import SCORING_EXPERIMENT, RegisteredModel
from tasks.tracking.registry import find_version
from tasks.training.evaluation_plots import Curve
from tasks.training.types import CONFUSION_FILE, DISTRIBUTION_FILE, ROC_FILE, Distribution

_LOSSES = ("train_loss", "validation_loss")


def previous_run(output_dir: Path) -> RunStatistics | None:
    """Return what the last finished run into a folder did, or None if there was none.

    Of a run that left no figures for comparison, what MLflow has is taken.

    Raises:
        MlflowException: If MLflow cannot be reached.
    """
    run = _last_run(str(output_dir))
    if run is None:
        return None
    statistics = read_logged_json(run.info.run_id, STATISTICS_FILE)
    try:
        return RunStatistics.model_validate(statistics)
    except ValidationError:
        tags = run.data.tags
        return RunStatistics(
            started=run_start_time(run),
            model_uri=tags.get("model_uri", ""),
            engine=" ".join(filter(None, (tags.get("engine"), tags.get("precision")))),
            metrics=run.data.metrics,
        )


def trained_distribution(model_uri: str) -> Distribution | None:
    """Return what a pipeline's model predicted for the test rows of its training.

    Args:
        model_uri: `models:/<name>/<number>`.

    Returns:
        None if that training left none, as those before version 0.1 did.

    Raises:
        MlflowException: If MLflow cannot be reached.
    """
    version = RegisteredModel.from_uri(model_uri)
    run_id = find_version(version.name, str(version.version)).tags.get("training_run_id", "")
    return distribution_of(run_id) if run_id else None


def _last_run(output_dir: str) -> Run | None:
    # Quotes cannot be escaped in a filter, so a wildcard stands for them; Python compares.
    pattern = output_dir.replace("'", "_").replace('"', "_")
    runs = connect().search_runs(
        [ensure_experiment(SCORING_EXPERIMENT)],
        filter_string=f"attributes.status = 'FINISHED' and tags.output_dir LIKE '{pattern}'",
        order_by=["attributes.start_time DESC"],
        max_results=100,
    )
    return next((run for run in runs if run.data.tags["output_dir"] == output_dir), None)


@dataclass(frozen=True)
class TrainingRun:
    """What is known of a training; an older one lacks some of it.

    Attributes:
        run: The MLflow run.
        split: The data.
        drawn: Rows that it was trained on.
        distribution: What the model predicted for the test rows.
        confusion: Counts as pandas has them split, by true and predicted label.
        curves: The ROC curve of each label.
        losses: Steps and losses by name.
        previous: The run before it.
        previous_distribution: What that one's model predicted for its test rows.
    """

    run: Run
    split: Split | None
    drawn: int | None
    distribution: Distribution | None
    confusion: Mapping[str, Any] | None
    curves: Mapping[str, Curve]
    losses: Mapping[str, Sequence[tuple[int, float]]]
    previous: Run | None
    previous_distribution: Distribution | None


def read_training(run_id: str) -> TrainingRun:
    """Return what MLflow holds of a training run.

    Raises:
        MlflowException: If there is no such run, or MLflow cannot be reached.
    """
    client = connect()
    run = client.get_run(run_id)
    previous = _run_before(run)
    histories = {name: client.get_metric_history(run_id, name) for name in _LOSSES}
    return TrainingRun(
        run=run,
        split=_split(run_id),
        drawn=_drawn(run),
        distribution=distribution_of(run_id),
        confusion=read_logged_json(run_id, CONFUSION_FILE),
        curves=read_logged_json(run_id, ROC_FILE) or {},
        losses={
            name: [(point.step, point.value) for point in points]
            for name, points in histories.items()
            if points
        },
        previous=previous,
        previous_distribution=distribution_of(previous.info.run_id) if previous else None,
    )


def distribution_of(run_id: str) -> Distribution | None:
    """Return what the model of a training run predicted for its test rows, if that is known."""
    try:
        return Distribution.model_validate(read_logged_json(run_id, DISTRIBUTION_FILE))
    except ValidationError:
        return None


def _split(run_id: str) -> Split | None:
    try:
        return Split.model_validate(read_logged_json(run_id, "data/split.json"))
    except ValidationError:
        return None


def _drawn(run: Run) -> int | None:
    datasets = run.inputs.dataset_inputs if run.inputs else []
    for dataset in datasets:
        rows = json.loads(dataset.dataset.profile or "{}").get("num_rows")
        if rows is not None:
            return int(rows)
    return None


def _run_before(run: Run) -> Run | None:
    """Return the last training that ended with test figures before this one began."""
    runs = connect().search_runs(
        [run.info.experiment_id],
        filter_string=(
            "attributes.status = 'FINISHED' and metrics.test_accuracy >= 0 "
            f"and attributes.start_time < {run.info.start_time}"
        ),
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return runs[0] if runs else None
