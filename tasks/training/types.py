"""Records of a training: its parameters, its model, and what it predicted for the test rows."""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.dataset.types import Split

Strategy = Literal["full", "freeze"]

Step = Literal[
    "all", "download_data", "split_data", "fine_tuning_model", "evaluate_model", "register_model"
]

# Where a training run keeps what was measured on its test rows.
DISTRIBUTION_FILE = "evaluation/distribution.json"

CONFUSION_FILE = "evaluation/confusion_matrix.json"
ROC_FILE = "evaluation/roc_curve.json"


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


class Distribution(BaseModel):
    """What a model predicted for the test rows of its training.

    Attributes:
        labels: Rows by predicted label.
        true_labels: Rows by the label that they have.
        scores: Rows by score, in `SCORE_BINS` bins of equal width.
    """

    model_config = ConfigDict(frozen=True)  # what a later version adds is ignored

    labels: dict[str, int]
    true_labels: dict[str, int]
    scores: tuple[int, ...]
