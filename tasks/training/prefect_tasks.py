"""Prefect tasks that fine-tune, evaluate and register a classifier."""

from prefect import task

from tasks.common.task_errors import RETRY_LONG_WORK, RETRY_MLFLOW, RETRY_ONCE
from tasks.dataset.types import Split
from tasks.tracking.names import FINETUNED_MODEL, RegisteredModel
from tasks.training.types import Evaluation, FineTuned, FineTuneParameters


@task(name="find training run", **RETRY_MLFLOW)
def find_training_run(run_id: str) -> FineTuned:
    """Return the model that an earlier run logged."""
    from tasks.training.mlflow_run import find_run

    return find_run(run_id)


@task(name="fine-tune model", **RETRY_LONG_WORK)
def fine_tune_model(split: Split, parameters: FineTuneParameters, *, reuse: bool) -> FineTuned:
    """Fine-tune and log the model, or return the one of an earlier equal run.

    A retry, and a new run with the same parameters, goes on from the last checkpoint.
    """
    from tasks.training.fine_tuning import fine_tune_or_reuse

    return fine_tune_or_reuse(split, parameters, reuse=reuse)


@task(name="evaluate model", **RETRY_ONCE)
def evaluate_model(fine_tuned: FineTuned) -> Evaluation:
    """Measure the model on its test part, and log metrics and plots."""
    from tasks.tracking.descriptions import describe_finetuned
    from tasks.training.evaluation import measure_model

    evaluation = measure_model(fine_tuned)
    describe_finetuned(fine_tuned.model_uri, fine_tuned.run_id)  # now with figures
    return evaluation


@task(name="register model", **RETRY_MLFLOW)
def register_model(fine_tuned: FineTuned) -> RegisteredModel:
    """Register the logged model as `dl_finetuned_model`, once."""
    from tasks.tracking.descriptions import FINETUNED_MODELS, describe_finetuned
    from tasks.tracking.registry import register_version

    found = register_version(
        FINETUNED_MODEL,
        fine_tuned.model_uri,
        run_id=fine_tuned.run_id,
        description=FINETUNED_MODELS,
    )
    describe_finetuned(fine_tuned.model_uri, fine_tuned.run_id)
    return found
