"""transformers' Trainer for text classification, with its loss and accuracy in MLflow."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import torch
from transformers import (
    DataCollatorWithPadding,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from pyfunc.engines.torch import supported_precisions
from tasks.common.progress import Progress
from tasks.training.types import FineTuneParameters

logger = logging.getLogger(__name__)

LOGGING_STEPS = 5


class TokenisedRows(torch.utils.data.Dataset[dict[str, Any]]):
    """Tokenised rows with the ids of their labels."""

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
        self._labels = [labels.index(label) for label in rows["label"]]

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {name: values[row] for name, values in self._inputs.items()} | {
            "labels": self._labels[row]
        }


class ClassifierTrainer(Trainer):
    """A Trainer that logs loss and accuracy to the active MLflow run.

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
            parameters: Epochs, batch size, learning rate, seed.
            train: Rows to train on.
            validation: Rows whose loss and accuracy are logged after each epoch.
            checkpoints: Folder of the checkpoints.
        """
        super().__init__(
            model=model,
            args=_training_arguments(parameters, checkpoints),
            train_dataset=train,
            eval_dataset=validation,
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=_accuracy,
        )
        self._correct = self._seen = 0
        # It prints the metrics that `log` logs.
        self.remove_callback(PrinterCallback)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss as the Trainer does, and count the correct predictions."""
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
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


class RowProgressCallback(TrainerCallback):
    """Advances a progress bar by the rows of each step."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_step_end(self, args: TrainingArguments, *_: Any, **__: Any) -> None:
        """Count a full batch, though the last of an epoch may be smaller."""
        self._progress.advance(args.train_batch_size)


def _accuracy(output: EvalPrediction) -> dict[str, float]:
    # Some models return hidden states after the logits.
    logits = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
    return {"accuracy": float((logits.argmax(-1) == output.label_ids).mean())}


def _training_arguments(parameters: FineTuneParameters, checkpoints: Path) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=parameters.epochs,
        per_device_train_batch_size=parameters.batch_size,
        per_device_eval_batch_size=parameters.batch_size * 2,
        learning_rate=parameters.learning_rate,
        seed=parameters.seed,
        bf16="bf16" in supported_precisions(),
        # Without it the Trainer refuses bfloat16 on a CPU.
        use_cpu=not torch.cuda.is_available(),
        logging_steps=LOGGING_STEPS,
        eval_strategy="epoch",
        save_steps=parameters.checkpoint_steps,
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,  # `tasks.common.progress` has a bar
        dataloader_pin_memory=torch.cuda.is_available(),
    )
