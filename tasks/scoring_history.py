"""What a scoring run is compared with: the run before it, and the test rows of its model."""

from pathlib import Path

from mlflow.entities import Run
from pydantic import ValidationError

from tasks.distributions import Distribution
from tasks.registry import find_version
from tasks.run_figures import FIGURES_FILE, RunFigures
from tasks.scoring_types import EXPERIMENT
from tasks.tracking import connect, experiment_id, logged_json, started_of
from tasks.training_history import distribution_of


def previous_run(output_dir: Path) -> RunFigures | None:
    """Return what the last finished run into a folder did, or None if there was none.

    Of a run that left no figures for comparison, what MLflow has is taken.

    Raises:
        MlflowException: If MLflow cannot be reached.
    """
    run = _last_run(str(output_dir))
    if run is None:
        return None
    figures = logged_json(run.info.run_id, FIGURES_FILE)
    try:
        return RunFigures.model_validate(figures)
    except ValidationError:
        tags = run.data.tags
        return RunFigures(
            started=started_of(run),
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
    name, number = model_uri.removeprefix("models:/").split("/")
    run_id = find_version(name, number).tags.get("training_run_id", "")
    return distribution_of(run_id) if run_id else None


def _last_run(output_dir: str) -> Run | None:
    # Quotes cannot be escaped in a filter, so a wildcard stands for them; Python compares.
    pattern = output_dir.replace("'", "_").replace('"', "_")
    runs = connect().search_runs(
        [experiment_id(EXPERIMENT)],
        filter_string=f"attributes.status = 'FINISHED' and tags.output_dir LIKE '{pattern}'",
        order_by=["attributes.start_time DESC"],
        max_results=100,
    )
    return next((run for run in runs if run.data.tags["output_dir"] == output_dir), None)
