"""Types of a training: flow parameters, its model, and its predictions for the test rows."""

import hashlib
import json
import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.common.errors import ParameterError
from tasks.common.parameter_types import FrozenModel, about, path_of
from tasks.dataset.types import Split

RUN_FILE = "mlflow-run-id"  # in a folder of checkpoints

STATIC = "static"

BASE_MODEL_EXPECTED = "minilm, static, a Hugging Face id, or a folder"
BaseModelName = Annotated[
    str,
    path_of("base_model", BASE_MODEL_EXPECTED),
    about(
        "minilm (packaged), a Hugging Face id, a folder, or static: a linear model on tokens and "
        "pairs of tokens, trained in seconds."
    ),
]
Teacher = Annotated[
    str,
    about(
        "With base_model static: the version of dl_finetuned_model whose probabilities it learns "
        "beside the labels, by number, alias or URI; empty for the labels alone."
    ),
]
Strategy = Annotated[
    Literal["full", "freeze"],
    about("full trains all weights, freeze the classification head alone."),
]
Epochs = Annotated[
    int, about("Passes over the training rows; min_steps may ask for more.", ge=1, le=1_000)
]
MinSteps = Annotated[
    int,
    about(
        "Training steps at least: few rows are passed over more often than epochs says. 0 leaves "
        "it to epochs.",
        ge=0,
        le=1_000_000,
    ),
]
ClassWeights = Annotated[
    Literal["none", "auto"],
    about("auto weights the loss of a row by how rare its label is; none takes all rows alike."),
]
# Memory grows with it, and it gains nothing long before.
BatchSize = Annotated[int, about("Training rows a step.", ge=1, le=4_096)]
LearningRate = Annotated[float, about("Highest step size of the linear schedule.", gt=0, lt=1)]
TokenLimit = Annotated[int, about("Longer texts are cut to this many tokens.", ge=8)]
SampleSize = Annotated[int, about("Training rows to draw at most; 0 takes all.", ge=0)]
# NumPy takes no larger seed.
Seed = Annotated[
    int,
    about(
        "Seed of everything random; the same seed gives the same numbers on one machine.",
        ge=0,
        le=2**32 - 1,
    ),
]
CheckpointSteps = Annotated[
    int, about("Steps between checkpoints; the most that a kill can lose.", ge=1)
]
FinetunedRunId = Annotated[
    str, about("The MLflow run to start from, without the step fine_tuning_model.")
]

# Where a training run keeps what was measured on its test rows.
DISTRIBUTION_FILE = "evaluation/distribution.json"
CONFUSION_FILE = "evaluation/confusion_matrix.json"
ROC_FILE = "evaluation/roc_curve.json"
RELIABILITY_FILE = "evaluation/reliability.json"
ADVICE_FILE = "evaluation/advice.json"

# Metrics of its MLflow run: what the logits are divided by, and what a linear model reaches.
TEMPERATURE = "temperature"
BASELINE = "test_baseline_accuracy"


_IN_WORDS = {
    "strategy": {
        "full": "All weights are trained.",
        "freeze": "The classification head alone is trained.",
    },
    "class_weights": {
        "none": "All rows count alike.",
        "auto": "Rows of rare labels count more.",
    },
}


def in_words(parameter: str, value: str) -> str:
    """Return the value of a parameter of a training as people read it."""
    return _IN_WORDS.get(parameter, {}).get(value, value)


# A static model is fitted until it fits best.
_OF_A_TRANSFORMER = {
    "strategy",
    "epochs",
    "min_steps",
    "batch_size",
    "learning_rate",
    "checkpoint_steps",
}


class FineTuneParameters(FrozenModel):
    """What shapes a fine-tuned model besides its data: parameters of the flow train-classifier.

    Raises:
        ParameterError: If another model than a static one gets a teacher.
    """

    base_model: BaseModelName = "minilm"
    strategy: Strategy = "full"
    epochs: Epochs = 1
    min_steps: MinSteps = 200
    batch_size: BatchSize = 32
    learning_rate: LearningRate = 5e-5
    class_weights: ClassWeights = "none"
    max_tokens: TokenLimit = 128
    sample_size: SampleSize = 4_000
    seed: Seed = 42
    checkpoint_steps: CheckpointSteps = 50
    teacher: Teacher = ""

    @model_validator(mode="after")
    def _check_teacher(self) -> Self:
        if self.teacher and self.base_model != STATIC:
            raise ParameterError(
                f"teacher: given for the base_model {self.base_model}; expected the base_model "
                f"{STATIC}, which alone learns from another model"
            )
        return self

    def logged(self) -> dict[str, Any]:
        """Return the parameters that shape this training, for its MLflow run."""
        unused = _OF_A_TRANSFORMER if self.base_model == STATIC else {"teacher"}
        return self.model_dump(exclude=unused)

    def steps_in_epoch(self, rows: int) -> int:
        """Return the steps of one pass over so many rows."""
        return math.ceil(rows / self.batch_size)

    def steps(self, rows: int) -> int:
        """Return the steps of a training on so many rows; it may stop earlier."""
        return max(self.epochs * self.steps_in_epoch(rows), self.min_steps)

    def key(self, split: Split, base_digest: str) -> str:
        """Return a digest of all that decides the weights: data, base and parameters.

        Args:
            split: The labelled rows.
            base_digest: That of the base model, or of a static model's code and teacher.
        """
        choices = self.model_dump(exclude={"base_model", "checkpoint_steps", "teacher"})
        if self.base_model == STATIC:
            choices = {name: choices[name] for name in choices if name not in _OF_A_TRANSFORMER}
        parts = [split.digest, split.labels, split.folder.name, base_digest, choices]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class FineTuned(FrozenModel):
    """A fine-tuned model in MLflow.

    Attributes:
        run_id: The MLflow run that trained it.
        model_uri: The logged model, as `models:/m-…`.
        reused: Whether an earlier run had trained it already.
        dropped_checkpoints: Those that a resumed training could not read, the last first.
    """

    run_id: str
    model_uri: str
    reused: bool = False
    dropped_checkpoints: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Return what a flow prints: the run, and the dropped checkpoints if there are any."""
        dropped = list(self.dropped_checkpoints)
        return {"finetuned_run_id": self.run_id, "reused": self.reused} | (
            {"dropped_checkpoints": dropped} if dropped else {}
        )


class Evaluation(FrozenModel):
    """What was measured on the test rows.

    Attributes:
        metrics: The metrics, by their names in MLflow.
        missing: Plots and metrics that could not be made, with the reason.
        advice: What to try next, a line for each finding.
    """

    metrics: dict[str, float]
    missing: dict[str, str] = Field(default_factory=dict)
    advice: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Return what a flow prints: the metrics, and what to try next if there is anything."""
        return self.metrics | ({"advice": list(self.advice)} if self.advice else {})


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
