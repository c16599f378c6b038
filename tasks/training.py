"""Fine-tuning, evaluation and registration of a classifier, as Prefect tasks."""

import hashlib
import json
from typing import Annotated, Literal

from prefect import task
from pydantic import BaseModel, ConfigDict, Field

from tasks.common.settings import get_settings
from tasks.common.task_errors import RETRY_LONG_WORK, RETRY_MLFLOW, RETRY_ONCE
from tasks.data import Split

REGISTERED_NAME = "dl_finetuned_model"
EXPERIMENT = "train-classifier"

Strategy = Literal["full", "freeze"]
Step = Literal[
    "all", "download_data", "split_data", "fine_tuning_model", "evaluate_model", "register_model"
]


class FineTuneParameters(BaseModel):
    """What shapes a fine-tuned model besides its data.

    Attributes:
        base_model: `minilm` (packaged), a Hugging Face id, or a folder.
        strategy: `full` trains all weights, `freeze` the classification head alone.
        epochs: Passes over the training rows.
        batch_size: Rows a step.
        learning_rate: Peak of the linear schedule.
        max_tokens: Longer texts are cut to this many tokens.
        sample_size: Training rows drawn at most; 0 takes all.
        seed: Seed of the draw, the new head, the order and dropout.
        checkpoint_steps: Steps between checkpoints; the most that a kill can lose.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_model: str = "minilm"
    strategy: Strategy = "full"
    epochs: Annotated[int, Field(ge=1)] = 1
    batch_size: Annotated[int, Field(ge=1)] = 32
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    max_tokens: Annotated[int, Field(ge=8)] = 128
    sample_size: Annotated[int, Field(ge=0)] = 4_000
    seed: Annotated[int, Field(ge=0)] = 42
    checkpoint_steps: Annotated[int, Field(ge=1)] = 50

    def key(self, split: Split, base_digest: str) -> str:
        """Return a digest of all that decides the weights: data, base and parameters."""
        choices = self.model_dump(exclude={"base_model", "checkpoint_steps"})
        parts = [split.digest, split.labels, split.folder.name, base_digest, choices]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class FineTuned(BaseModel):
    """A fine-tuned model in MLflow.

    Attributes:
        run_id: The MLflow run that trained it.
        model_uri: The logged model, as `models:/m-…`.
        reused: Whether an earlier run had trained it already.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    model_uri: str
    reused: bool = False


class RegisteredModel(BaseModel):
    """A registered version; `uri` is `models:/<name>/<version>`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int
    reused: bool = False

    @property
    def uri(self) -> str:
        """The MLflow URI that loads this version."""
        return f"models:/{self.name}/{self.version}"


@task(name="find training run", **RETRY_MLFLOW)
def find_training_run(run_id: str) -> FineTuned:
    """Return the model that an earlier run logged."""
    from tasks.training_runs import find_run

    return find_run(run_id)


@task(name="fine-tune model", **RETRY_LONG_WORK)
def fine_tune_model(split: Split, parameters: FineTuneParameters, *, reuse: bool) -> FineTuned:
    """Fine-tune and log the model, or return the one of an earlier equal run.

    A retry, and a new run with the same parameters, goes on from the last checkpoint.
    """
    from filelock import FileLock

    from pyfunc.fingerprint import digest_folder
    from tasks.base_models import base_model_folder
    from tasks.fine_tuning import fine_tune
    from tasks.training_runs import find_finished

    base = base_model_folder(parameters.base_model)
    key = parameters.key(split, digest_folder(base))
    checkpoints = get_settings().checkpoints / key[:16]
    checkpoints.parent.mkdir(parents=True, exist_ok=True)
    # An equal training that runs at the same time is waited for, and its model taken.
    with FileLock(checkpoints.with_suffix(".lock")):
        if reuse and (finished := find_finished(key)):
            return finished
        return fine_tune(split, parameters, base, key, checkpoints)


@task(name="evaluate model", **RETRY_ONCE)
def evaluate_model(fine_tuned: FineTuned) -> dict[str, float]:
    """Measure the model on its test part, log figures and pictures, and return the figures."""
    from tasks.evaluation import evaluate

    return evaluate(fine_tuned)


@task(name="register model", **RETRY_MLFLOW)
def register_model(fine_tuned: FineTuned) -> RegisteredModel:
    """Register the logged model as `dl_finetuned_model`, once."""
    from tasks.registry import register

    return register(REGISTERED_NAME, fine_tuned.model_uri, run_id=fine_tuned.run_id)
