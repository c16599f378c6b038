"""transformers' Trainer, set up for text classification and measured in MLflow."""

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
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from pyfunc.engines.torch import supported_precisions
from tasks.common.progress import Progress
from tasks.training.types import FineTuneParameters

logger = logging.getLogger(__name__)

LOGGING_STEPS = 5


class ClassifierTrainer(Trainer):
    """A Trainer that logs the loss and accuracy of its batches to an MLflow run."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        parameters: FineTuneParameters,
        *,
        train: "LabelledTokens",
        validation: "LabelledTokens",
        checkpoints: Path,
        run_id: str,
    ) -> None:
        """Set the Trainer up; `train()` starts it.

        Args:
            model: The classifier to train, in place.
            tokenizer: Pads the batches.
            parameters: Epochs, batch size, learning rate, seed.
            train: Rows to learn from.
            validation: Rows whose loss is watched at the end of each epoch.
            checkpoints: Folder of the checkpoints.
            run_id: The MLflow run.
        """
        super().__init__(
            model=model,
            args=_training_arguments(parameters, checkpoints),
            train_dataset=train,
            eval_dataset=validation,
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=_accuracy,
        )
        self._right = self._seen = 0
        self.add_callback(MlflowMetrics(self, run_id))
        # It prints what MlflowMetrics logs.
        self.remove_callback(PrinterCallback)

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss as the Trainer does, and count the right answers on the way."""
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if model.training:
            self._right += int((outputs.logits.argmax(-1) == inputs["labels"]).sum())
            self._seen += len(inputs["labels"])
        return (loss, outputs) if return_outputs else loss

    def take_accuracy(self) -> float:
        """Return the accuracy since the last call."""
        accuracy = self._right / max(self._seen, 1)
        self._right = self._seen = 0
        return accuracy


class MlflowMetrics(TrainerCallback):
    """Logs loss and accuracy a step; transformers' own callback knows no train accuracy."""

    def __init__(self, trainer: ClassifierTrainer, run_id: str) -> None:
        self._trainer = trainer
        self._run_id = run_id

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Log what the Trainer reports, under names of our own."""
        figures = logs or {}
        metrics = {}
        if "loss" in figures:
            metrics = {
                "train_loss": figures["loss"],
                "train_accuracy": self._trainer.take_accuracy(),
            }
        if "eval_loss" in figures:
            metrics = {
                "validation_loss": figures["eval_loss"],
                "validation_accuracy": figures["eval_accuracy"],
            }
        if metrics:
            mlflow.log_metrics(metrics, step=state.global_step, run_id=self._run_id)
            shown = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
            logger.info("step %d of %d: %s", state.global_step, state.max_steps, shown)


class CountedSteps(TrainerCallback):
    """Counts the rows of each step."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Count a batch; the last of an epoch may be smaller."""
        self._progress.advance(args.train_batch_size)


def _accuracy(output: EvalPrediction) -> dict[str, float]:
    # Some models give hidden states beside the logits.
    logits = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
    return {"accuracy": float((logits.argmax(-1) == output.label_ids).mean())}


class LabelledTokens(torch.utils.data.Dataset[dict[str, Any]]):
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


def _training_arguments(parameters: FineTuneParameters, checkpoints: Path) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=parameters.epochs,
        per_device_train_batch_size=parameters.batch_size,
        per_device_eval_batch_size=parameters.batch_size * 2,
        learning_rate=parameters.learning_rate,
        seed=parameters.seed,
        bf16="bf16" in supported_precisions(),
        # Without it bfloat16 is refused where there is no GPU.
        use_cpu=not torch.cuda.is_available(),
        logging_steps=LOGGING_STEPS,
        eval_strategy="epoch",
        save_steps=parameters.checkpoint_steps,
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,  # `tasks.common.progress` has a bar
        dataloader_pin_memory=torch.cuda.is_available(),
    )
