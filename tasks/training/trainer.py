"""transformers' Trainer for text classification, with its loss and accuracy in MLflow."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.utils.class_weight import compute_class_weight
from transformers import (
    DataCollatorWithPadding,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from pyfunc.engines.torch import supported_precisions
from tasks.common.progress import Progress
from tasks.training.types import FineTuneParameters

logger = logging.getLogger(__name__)

LOGGING_STEPS = 5

# Of few rows an epoch has a step or two, and each evaluation may write a checkpoint.
_EVALUATION_STEPS = 5

# A training stops after so many steps and evaluations without a lower validation loss: few rows
# are evaluated often, and the first losses go up and down.
_PATIENCE_STEPS = 50
_PATIENCE_EVALUATIONS = 3

Logits = npt.NDArray[np.float64]


class TokenisedRows(torch.utils.data.Dataset[dict[str, Any]]):
    """Tokenised rows with the ids of their labels.

    Attributes:
        labels: The id of each row's label.
    """

    def __init__(
        self, rows: pd.DataFrame, labels: Sequence[str], tokenizer: PreTrainedTokenizerBase
    ) -> None:
        """Tokenise all rows, cut at the tokenizer's `model_max_length`.

        Args:
            rows: The columns `text` and `label`.
            labels: Label names in the order of their ids.
            tokenizer: Of the model to be trained.
        """
        self._inputs = tokenizer(rows["text"].tolist(), truncation=True)
        self.labels = [labels.index(label) for label in rows["label"]]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {name: values[row] for name, values in self._inputs.items()} | {
            "labels": self.labels[row]
        }


class ClassifierTrainer(Trainer):
    """A Trainer that logs loss and accuracy to the active MLflow run, and keeps the best weights.

    transformers' own MLflowCallback logs no train accuracy.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        parameters: FineTuneParameters,
        *,
        train: TokenisedRows,
        validation: TokenisedRows,
        checkpoints: Path,
    ) -> None:
        """Set the Trainer up; `train()` starts it.

        Args:
            model: The classifier to train, in place.
            tokenizer: Pads the batches.
            parameters: Epochs, steps, batch size, learning rate, class weights, seed.
            train: Rows to train on.
            validation: Rows whose loss and accuracy are logged after each epoch. At the end the
                model has the weights of their lowest loss.
            checkpoints: Folder of the checkpoints.
        """
        super().__init__(
            model=model,
            args=_training_arguments(parameters, checkpoints, rows=len(train)),
            train_dataset=train,
            eval_dataset=validation,
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=_accuracy,
        )
        self._correct = self._seen = 0
        self._weights = _class_weights(parameters, train.labels, len(model.config.id2label or ()))
        # It prints the metrics that `log` logs.
        self.remove_callback(PrinterCallback)
        self.add_callback(CheckpointCallback(parameters.checkpoint_steps))
        self.add_callback(EarlyStoppingCallback())

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss, weighted by label if asked for, and count the correct predictions."""
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if self._weights is not None:
            logits = outputs.logits.float()
            weights = self._weights.to(logits.device)
            loss = torch.nn.functional.cross_entropy(logits, inputs["labels"], weights)
        if model.training:
            self._correct += int((outputs.logits.argmax(-1) == inputs["labels"]).sum())
            self._seen += len(inputs["labels"])
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log metrics as the Trainer does, and to MLflow as `train_…` and `validation_…`."""
        super().log(logs, start_time)
        if "loss" in logs:
            accuracy = self._correct / max(self._seen, 1)
            self._correct = self._seen = 0
            metrics = {"train_loss": logs["loss"], "train_accuracy": accuracy}
        elif "eval_loss" in logs:
            metrics = {
                "validation_loss": logs["eval_loss"],
                "validation_accuracy": logs["eval_accuracy"],
            }
        else:
            return
        mlflow.log_metrics(metrics, step=self.state.global_step)
        values = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
        logger.info("step %d of %d: %s", self.state.global_step, self.state.max_steps, values)

    def predict_logits(self, rows: TokenisedRows) -> Logits:
        """Return the model's logits of rows, of shape (rows, labels)."""
        return _logits_of(self.predict(rows).predictions).astype(np.float64)


class CheckpointCallback(TrainerCallback):
    """Saves a checkpoint every so many steps, for a training that is killed.

    The Trainer saves those with the best weights. It drops the wish to save at a step of an
    evaluation that finds no better ones, so that the next step saves.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._saved = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any
    ) -> None:
        """Count from the checkpoint that the training resumes from."""
        self._saved = state.global_step

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ask for a checkpoint if the last one is old enough."""
        if state.global_step - self._saved >= self._steps:
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        """Count from this checkpoint."""
        self._saved = state.global_step


class EarlyStoppingCallback(TrainerCallback):
    """Stops a training whose validation loss has not become lower for a while.

    That of transformers counts evaluations, and loses its count when a training resumes.
    """

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Stop if the best evaluation is long ago."""
        patience = max(_PATIENCE_STEPS, _PATIENCE_EVALUATIONS * state.eval_steps)
        if state.global_step - (state.best_global_step or 0) > patience:
            logger.info("stopping: no lower validation loss for %d steps", patience)
            control.should_training_stop = True


class RowProgressCallback(TrainerCallback):
    """Advances a progress bar by the rows of each step."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_step_end(self, args: TrainingArguments, *_: Any, **__: Any) -> None:
        """Count a full batch, though the last of an epoch may be smaller."""
        self._progress.advance(args.train_batch_size)


def _accuracy(output: EvalPrediction) -> dict[str, float]:
    logits = _logits_of(output.predictions)
    return {"accuracy": float((logits.argmax(-1) == output.label_ids).mean())}


def _logits_of(predictions: Any) -> npt.NDArray[np.floating[Any]]:
    # Some models return hidden states after the logits.
    found: npt.NDArray[np.floating[Any]]
    found = predictions[0] if isinstance(predictions, tuple) else predictions
    return found


def _class_weights(
    parameters: FineTuneParameters, labels: Sequence[int], count: int
) -> torch.Tensor | None:
    """Return a weight for each label, the mean of the rows' weights being 1; none if not asked."""
    if parameters.class_weights == "none":
        return None
    present = np.unique(labels)
    weights = torch.ones(count)
    weights[present] = torch.tensor(
        compute_class_weight("balanced", classes=present, y=np.array(labels)), dtype=torch.float32
    )
    return weights


def _training_arguments(
    parameters: FineTuneParameters, checkpoints: Path, *, rows: int
) -> TrainingArguments:
    steps_in_epoch = parameters.steps_in_epoch(rows)
    return TrainingArguments(
        output_dir=str(checkpoints),
        max_steps=parameters.steps(rows),
        per_device_train_batch_size=parameters.batch_size,
        per_device_eval_batch_size=parameters.batch_size * 2,
        learning_rate=parameters.learning_rate,
        seed=parameters.seed,
        bf16="bf16" in supported_precisions(),
        # Without it the Trainer refuses bfloat16 on a CPU.
        use_cpu=not torch.cuda.is_available(),
        logging_steps=LOGGING_STEPS,
        eval_strategy="steps",
        eval_steps=steps_in_epoch * math.ceil(_EVALUATION_STEPS / steps_in_epoch),
        save_strategy="best",
        metric_for_best_model="loss",
        load_best_model_at_end=True,
        save_total_limit=2,  # the last one, and that of the best weights
        report_to="none",
        disable_tqdm=True,  # `tasks.common.progress` has a bar
        dataloader_pin_memory=torch.cuda.is_available(),
    )
