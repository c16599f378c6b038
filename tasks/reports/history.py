"""Read runs to compare with from MLflow: previous scoring runs, trainings, test predictions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from pydantic import ValidationError

from tasks.dataset.types import Split
from tasks.measures.evaluation_plots import Curve
from tasks.reports.types import STATISTICS_FILE, RunStatistics
from tasks.tracking.mlflow_client import (
    connect,
    ensure_experiment,
    read_logged_json,
    run_start_time,
)
from tasks.tracking.names import SCORING_EXPERIMENT, SERIES_TAG, RegisteredModel
from tasks.tracking.registry import get_version
from tasks.tracking.runs import is_complete
from tasks.training.logged_rows import SPLIT_FILE
from tasks.training.types import (
    ADVICE_FILE,
    CONFUSION_FILE,
    DISTRIBUTION_FILE,
    RELIABILITY_FILE,
    ROC_FILE,
    Distribution,
)

_LOSSES = ("train_loss", "validation_loss")


def previous_run(output_dir: Path, series: str) -> RunStatistics | None:
    """Return the statistics of the last complete run into a folder, or None if there was none.

    A run that logged no `STATISTICS_FILE` has the metrics and tags of its MLflow run.

    Args:
        output_dir: The output folder.
        series: The `SERIES_TAG` that the run has, if it has one.

    Raises:
        MlflowException: If MLflow cannot be reached.
    """
    run = _last_scoring_run(str(output_dir), series)
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


def training_distribution(model_uri: str) -> Distribution | None:
    """Return the predictions of a pipeline's model for the test rows of its training.

    Args:
        model_uri: `models:/<name>/<number>`.

    Returns:
        None if that training logged none, as before version 0.1.

    Raises:
        MlflowException: If MLflow cannot be reached.
    """
    version = RegisteredModel.from_uri(model_uri)
    run_id = get_version(version.name, version.version).tags.get("training_run_id", "")
    return logged_distribution(run_id) if run_id else None


def _last_scoring_run(output_dir: str, series: str) -> Run | None:
    # MLflow filters cannot escape quotes: wildcards match them, and Python compares the names.
    pattern = output_dir.replace("'", "_").replace('"', "_")
    runs = connect().search_runs(
        [ensure_experiment(SCORING_EXPERIMENT)],
        filter_string=f"attributes.status != 'RUNNING' and tags.output_dir LIKE '{pattern}'",
        order_by=["attributes.start_time DESC"],
        max_results=100,
    )
    return next(
        (
            run
            for run in runs
            if is_complete(run)
            and run.data.tags["output_dir"] == output_dir
            and run.data.tags.get(SERIES_TAG, series) == series
        ),
        None,
    )


@dataclass(frozen=True)
class TrainingRun:
    """What MLflow holds of a training; older ones logged less.

    Attributes:
        run: The MLflow run.
        split: The data set and its parts.
        train_rows: Number of rows that it was trained on.
        distribution: Predictions for the test rows.
        confusion: Counts by true and predicted label, as `DataFrame.to_dict(orient="split")`.
        curves: ROC curve by label.
        losses: Steps and losses by name.
        reliability: Mean score, share of right rows and rows of bins of scores, before and after
            the temperature.
        advice: What to try next.
        previous: The training before it.
        previous_split: The data set of that one and its parts.
        previous_distribution: Predictions of that one's model for its own test rows.
    """

    run: Run
    split: Split | None
    train_rows: int | None
    distribution: Distribution | None
    confusion: Mapping[str, Any] | None
    curves: Mapping[str, Curve]
    losses: Mapping[str, Sequence[tuple[int, float]]]
    reliability: Mapping[str, Sequence[tuple[float, float, int]]]
    advice: Sequence[str]
    previous: Run | None
    previous_split: Split | None
    previous_distribution: Distribution | None


def read_training(run_id: str) -> TrainingRun:
    """Read a training run from MLflow.

    Raises:
        MlflowException: If there is no such run, or MLflow cannot be reached.
    """
    client = connect()
    run = client.get_run(run_id)
    previous = _previous_training(run)
    histories = {name: client.get_metric_history(run_id, name) for name in _LOSSES}
    return TrainingRun(
        run=run,
        split=_split(run_id),
        train_rows=_count_train_rows(run),
        distribution=logged_distribution(run_id),
        confusion=read_logged_json(run_id, CONFUSION_FILE),
        curves=read_logged_json(run_id, ROC_FILE) or {},
        losses={
            name: [(point.step, point.value) for point in points]
            for name, points in histories.items()
            if points
        },
        reliability=read_logged_json(run_id, RELIABILITY_FILE) or {},
        advice=read_logged_json(run_id, ADVICE_FILE) or (),
        previous=previous,
        previous_split=_split(previous.info.run_id) if previous else None,
        previous_distribution=logged_distribution(previous.info.run_id) if previous else None,
    )


def logged_distribution(run_id: str) -> Distribution | None:
    """Return the predictions that a training run logged for its test rows, if it did."""
    try:
        return Distribution.model_validate(read_logged_json(run_id, DISTRIBUTION_FILE))
    except ValidationError:
        return None


def _split(run_id: str) -> Split | None:
    try:
        return Split.model_validate(read_logged_json(run_id, SPLIT_FILE))
    except ValidationError:
        return None


def _count_train_rows(run: Run) -> int | None:
    datasets = run.inputs.dataset_inputs if run.inputs else []
    for dataset in datasets:
        rows = json.loads(dataset.dataset.profile or "{}").get("num_rows")
        if rows is not None:
            return int(rows)
    return None


def _previous_training(run: Run) -> Run | None:
    """Return the last evaluated training of the same series that started before this one."""
    if (series := run.data.tags.get(SERIES_TAG)) is None:
        return None
    runs = connect().search_runs(
        [run.info.experiment_id],
        filter_string=(
            "attributes.status = 'FINISHED' and metrics.test_accuracy >= 0 "
            f"and attributes.start_time < {run.info.start_time} "
            f"and tags.{SERIES_TAG} = '{series}'"
        ),
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return runs[0] if runs else None
