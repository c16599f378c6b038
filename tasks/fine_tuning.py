"""Fine-tuning with the transformers Trainer, recorded in MLflow and resumed after a kill."""

import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import torch
from huggingface_hub import ModelCard
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.pandas_dataset import from_pandas
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

from tasks.classifiers import quiet_transformers
from tasks.data import Split
from tasks.errors import ModelError
from tasks.settings import get_settings
from tasks.splitting import sample
from tasks.tracking import connect, experiment_id, git_commit, package_versions, pinned
from tasks.training import EXPERIMENT, FineTuned, FineTuneParameters

logger = logging.getLogger(__name__)

LOGGING_STEPS = 5
_RUN_FILE = "mlflow-run-id"


def find_finished(key: str) -> FineTuned | None:
    """Return the model that an earlier run trained from equal data and parameters."""
    client = connect()
    runs = client.search_runs(
        [experiment_id(EXPERIMENT)],
        filter_string=f"tags.training_key = '{key}' and tags.model_uri LIKE 'models:/%'",
        max_results=1,
    )
    if not runs:
        return None
    run = runs[0]
    logger.info(
        "reusing the model of run %s: equal data, base model and parameters", run.info.run_id
    )
    return FineTuned(run_id=run.info.run_id, model_uri=run.data.tags["model_uri"], reused=True)


def find_run(run_id: str) -> FineTuned:
    """Return the model that run `run_id` logged.

    Raises:
        ModelError: If there is no such run, or it logged no model.
    """
    try:
        run = connect().get_run(run_id)
    except MlflowException as error:
        raise ModelError(
            f"finetuned_run_id: {run_id!r} is no MLflow run ({error.message})"
        ) from error
    if "model_uri" not in run.data.tags:
        raise ModelError(f"finetuned_run_id: run {run_id} logged no model; expected a finished one")
    return FineTuned(run_id=run_id, model_uri=run.data.tags["model_uri"], reused=True)


def fine_tune(split: Split, parameters: FineTuneParameters, base: Path, key: str) -> FineTuned:
    """Fine-tune `base` on the train part, log everything to one MLflow run, log the model.

    Args:
        split: The labelled rows.
        parameters: All that shapes the result.
        base: Folder of the base model.
        key: Digest of the above; names the folder of the checkpoints.

    Raises:
        ModelError: If the base model cannot be trained as a classifier.
        DataError: If `sample_size` exceeds the train part.
    """
    checkpoints = get_settings().checkpoints / key[:16]
    rows = sample(pd.read_parquet(split.part("train")), parameters.sample_size, parameters.seed)
    with _open_run(checkpoints, key, parameters) as run:
        model, tokenizer = _load_base(base, split, parameters)
        trainer = _Trainer(
            run_id=run.info.run_id,
            model=model,
            args=_training_arguments(parameters, checkpoints),
            train_dataset=_Rows(rows, split, tokenizer, parameters),
            eval_dataset=_Rows(_part(split, "validation"), split, tokenizer, parameters),
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=lambda output: {
                "accuracy": float((output.predictions.argmax(-1) == output.label_ids).mean())
            },
        )
        _log_origin(split, parameters, rows, bf16=trainer.args.bf16)
        trainer.train(resume_from_checkpoint=_last_whole_checkpoint(checkpoints))
        model_uri = _log_model(model, tokenizer, split, parameters)
        mlflow.set_tag("model_uri", model_uri)
    shutil.rmtree(checkpoints)
    return FineTuned(run_id=run.info.run_id, model_uri=model_uri)


class _Rows(torch.utils.data.Dataset[dict[str, Any]]):
    """Tokenised rows with the ids of their labels."""

    def __init__(
        self,
        rows: pd.DataFrame,
        split: Split,
        tokenizer: PreTrainedTokenizerBase,
        parameters: FineTuneParameters,
    ) -> None:
        self._inputs = tokenizer(
            rows["text"].tolist(), truncation=True, max_length=parameters.max_tokens
        )
        self._labels = [split.labels.index(label) for label in rows["label"]]

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {name: values[row] for name, values in self._inputs.items()} | {
            "labels": self._labels[row]
        }


class _Trainer(Trainer):
    """A Trainer that also measures the accuracy of its training batches."""

    def __init__(self, *, run_id: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._right = self._seen = 0
        self.add_callback(_MlflowMetrics(self, run_id))
        # It prints what _MlflowMetrics logs.
        self.remove_callback(PrinterCallback)

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
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


class _MlflowMetrics(TrainerCallback):
    """Logs loss and accuracy a step; transformers' own callback knows no train accuracy."""

    def __init__(self, trainer: _Trainer, run_id: str) -> None:
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


def _open_run(checkpoints: Path, key: str, parameters: FineTuneParameters) -> mlflow.ActiveRun:
    """Start a run, or go on with the one that a killed process left with its checkpoints."""
    record = checkpoints / _RUN_FILE
    experiment = experiment_id(EXPERIMENT)
    if record.is_file():
        run_id = record.read_text(encoding="utf-8")
        logger.info("continuing run %s", run_id)
        return mlflow.start_run(run_id=run_id)
    run = mlflow.start_run(
        experiment_id=experiment,
        run_name=f"{Path(parameters.base_model).name}-{key[:8]}",
        tags={"training_key": key, "git_commit": git_commit()},
    )
    checkpoints.mkdir(parents=True, exist_ok=True)
    record.write_text(run.info.run_id, encoding="utf-8")
    return run


def _last_whole_checkpoint(checkpoints: Path) -> str | None:
    """Return the last checkpoint after dropping those that a kill left half-written.

    The Trainer writes `trainer_state.json` last.
    """
    for folder in checkpoints.glob("checkpoint-*"):
        try:
            json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            logger.warning("dropping %s: it was not written to the end", folder)
            shutil.rmtree(folder)
    last: str | None = get_last_checkpoint(str(checkpoints))
    if last:
        logger.info("continuing from %s", last)
        mlflow.set_tag("resumed_from", Path(last).name)
    return last


def _load_base(
    base: Path, split: Split, parameters: FineTuneParameters
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    quiet_transformers()
    # The head draws its weights when it is made.
    set_seed(parameters.seed)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            base, local_files_only=True, model_max_length=parameters.max_tokens
        )
        model = AutoModelForSequenceClassification.from_pretrained(
            base,
            local_files_only=True,
            dtype=torch.float32,
            num_labels=len(split.labels),
            id2label=dict(enumerate(split.labels)),
            label2id={label: number for number, label in enumerate(split.labels)},
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"base_model: {base}: expected a transformer ({reason})") from error
    if tokenizer.pad_token_id is None:
        raise ModelError(f"base_model: {base}: its tokenizer has no padding token; expected one")
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest is not None and parameters.max_tokens > longest:
        raise ModelError(f"max_tokens: {parameters.max_tokens}; {base} reads {longest} at most")
    if parameters.strategy == "freeze":
        for weights in model.base_model.parameters():
            weights.requires_grad = False
    return model, tokenizer


def _training_arguments(parameters: FineTuneParameters, checkpoints: Path) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=parameters.epochs,
        per_device_train_batch_size=parameters.batch_size,
        per_device_eval_batch_size=parameters.batch_size * 2,
        learning_rate=parameters.learning_rate,
        seed=parameters.seed,
        bf16=machine_has_bf16(),
        # Without it bfloat16 is refused where there is no GPU.
        use_cpu=not torch.cuda.is_available(),
        logging_steps=LOGGING_STEPS,
        eval_strategy="epoch",
        save_steps=parameters.checkpoint_steps,
        save_total_limit=2,
        report_to="none",
        disable_tqdm=not sys.stderr.isatty(),
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def machine_has_bf16() -> bool:
    """Return whether bfloat16 runs in hardware: emulated, it is slower than float32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _log_origin(
    split: Split, parameters: FineTuneParameters, rows: pd.DataFrame, *, bf16: bool
) -> None:
    mlflow.log_params(parameters.model_dump() | {"source": split.source, "bf16": bf16})
    mlflow.set_tags({"data_digest": split.digest, "labels": json.dumps(split.labels)})
    # MLflow keeps 36 characters of a digest; the whole one is a tag.
    source = CodeDatasetSource({"source": split.source, "split": str(split.folder)})
    dataset = from_pandas(
        rows, source=source, targets="label", name="train", digest=split.digest[:36]
    )
    mlflow.log_input(dataset, context="training")
    mlflow.log_dict(split.model_dump(mode="json"), "data/split.json")
    mlflow.log_artifact(str(split.part("test")), "data")
    mlflow.log_dict(package_versions(), "packages.json")


def _log_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    split: Split,
    parameters: FineTuneParameters,
) -> str:
    card = ModelCard(
        "---\nlibrary_name: transformers\npipeline_tag: text-classification\n---\n"
        f"# Fine-tuned text classifier\n\nLabels: {', '.join(split.labels)}. "
        f"Base model: {parameters.base_model}. Data: {split.source}, SHA-256 {split.digest}.\n"
    )
    info = mlflow.transformers.log_model(
        # Without a card of our own MLflow asks the Hugging Face Hub for one.
        model_card=card,
        transformers_model={"model": model.cpu().eval(), "tokenizer": tokenizer},
        task="text-classification",
        name="model",
        signature=ModelSignature(
            inputs=Schema([ColSpec(DataType.string, "text")]),
            outputs=Schema([ColSpec(DataType.string, "label"), ColSpec(DataType.double, "score")]),
        ),
        input_example=pd.DataFrame({"text": ["Great movie"]}),
        pip_requirements=pinned("torch", "transformers"),
    )
    return f"models:/{info.model_id}"


def _part(split: Split, name: str) -> pd.DataFrame:
    return pd.read_parquet(split.part(name))
