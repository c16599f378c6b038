"""Fine-tune a base model as a text classifier, resuming from the last checkpoint."""

import json
import logging
import shutil
from functools import partial
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import mlflow
import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers.trainer import (
    OPTIMIZER_NAME,
    SCHEDULER_NAME,
    TRAINER_STATE_NAME,
)
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint
from transformers.utils import SAFE_WEIGHTS_NAME

from pyfunc.fingerprint import digest_folder
from tasks.common.files import waited_lock
from tasks.common.progress import show_progress
from tasks.common.settings import get_settings
from tasks.common.task_errors import class_and_line
from tasks.dataset.splitting import sample_rows, warn_of_undrawn_labels
from tasks.dataset.types import Split
from tasks.measures.baseline import MOST_ROWS, baseline_accuracy
from tasks.measures.calibration import fit_temperature
from tasks.tracking.runs import killed_if_interrupted
from tasks.training.base_model_loading import load_base_model
from tasks.training.base_models import base_model_folder
from tasks.training.mlflow_run import find_equal_training, log_model, log_training_inputs, open_run
from tasks.training.static_training import static_digest, train_static, with_found_teacher
from tasks.training.trainer import ClassifierTrainer, RowProgressCallback, TokenisedRows
from tasks.training.types import BASELINE, STATIC, TEMPERATURE, FineTuned, FineTuneParameters

logger = logging.getLogger(__name__)


def fine_tune_or_reuse(
    split: Split, parameters: FineTuneParameters, *, reuse: bool, base: Path | None = None
) -> FineTuned:
    """Return the model of an earlier equal training, or fine-tune from the last checkpoint.

    An equal training that runs at the same time is waited for, and its model taken.

    Args:
        split: The labelled rows.
        parameters: All that shapes the result.
        reuse: Whether the model of an earlier training is taken.
        base: A folder with weights to start from, in the place of those of `base_model`.

    Raises:
        ModelError: If the base model is missing or cannot be trained as a classifier, or the
            teacher has other labels.
        ParameterError: If the teacher is no version of `dl_finetuned_model`.
    """
    if parameters.base_model == STATIC:
        parameters = with_found_teacher(parameters)
        key = parameters.key(split, static_digest(parameters))
        train = partial(train_static, split, parameters, key)
    else:
        base = base or base_model_folder(parameters.base_model)
        key = parameters.key(split, digest_folder(base))
        train = partial(fine_tune, split, parameters, base, key)
    checkpoints = get_settings().checkpoints / key[:16]
    checkpoints.parent.mkdir(parents=True, exist_ok=True)
    with waited_lock(checkpoints.with_suffix(".lock"), "the end of an equal training"):
        if reuse and (finished := find_equal_training(key)):
            return finished
        return train(checkpoints)


def fine_tune(
    split: Split, parameters: FineTuneParameters, base: Path, key: str, checkpoints: Path
) -> FineTuned:
    """Fine-tune `base` on the train part, log everything to one MLflow run, log the model.

    Args:
        split: The labelled rows.
        parameters: All that shapes the result.
        base: Folder of the base model.
        key: Digest of the above, by which equal trainings are found.
        checkpoints: Folder of the checkpoints. The training resumes from the last of them, and
            removes the folder at the end.

    Raises:
        ModelError: If the base model cannot be trained as a classifier.
    """
    rows = sample_rows(
        pd.read_parquet(split.part("train")), parameters.sample_size, parameters.seed
    )
    warn_of_undrawn_labels(rows, split)
    validation = pd.read_parquet(split.part("validation"))
    model, tokenizer = load_base_model(base, split.labels, parameters)
    checked = TokenisedRows(validation, split.labels, tokenizer)
    with killed_if_interrupted(open_run(checkpoints, key, parameters)) as run:
        trainer = ClassifierTrainer(
            model,
            tokenizer,
            parameters,
            train=TokenisedRows(rows, split.labels, tokenizer),
            validation=checked,
            checkpoints=checkpoints,
        )
        family = str(model.config.model_type)
        log_training_inputs(split, parameters, rows, family=family, bf16=trainer.args.bf16)
        checkpoint, dropped = _last_usable_checkpoint(checkpoints)
        done = int(checkpoint.rpartition("-")[2]) * parameters.batch_size if checkpoint else 0
        planned = parameters.steps(len(rows)) / parameters.steps_in_epoch(len(rows)) * len(rows)
        with show_progress("training", round(planned) - done) as progress:
            trainer.add_callback(RowProgressCallback(progress))
            trained = trainer.train(resume_from_checkpoint=checkpoint)
        _log_outcome(trainer, checked)
        log_baseline(rows, split)
        model_uri = log_model(model, tokenizer, split, parameters)
        mlflow.set_tag("model_uri", model_uri)
        if checkpoint is None:  # a resumed training measures only its last part
            speed = {
                "train_seconds": trained.metrics["train_runtime"],
                "train_rows_per_second": trained.metrics["train_samples_per_second"],
            }
            mlflow.log_metrics(speed)
    shutil.rmtree(checkpoints)
    return FineTuned(run_id=run.info.run_id, model_uri=model_uri, dropped_checkpoints=dropped)


def _log_outcome(trainer: ClassifierTrainer, validation: TokenisedRows) -> None:
    """Log the steps that were made, those of the best weights, and the temperature of these."""
    state = trainer.state
    logits = trainer.predict_logits(validation)
    mlflow.log_metrics(
        {
            "steps": state.global_step,
            "best_step": state.best_global_step or state.global_step,
            TEMPERATURE: fit_temperature(logits, np.array(validation.labels)),
        }
    )


def log_baseline(rows: pd.DataFrame, split: Split) -> None:
    """Log the accuracy of a linear model on the same rows, or why there is none."""
    rows, test = sample_rows(rows, MOST_ROWS, seed=0), pd.read_parquet(split.part("test"))
    columns = [part[name].tolist() for part in (rows, test) for name in ("text", "label")]
    try:
        accuracy = baseline_accuracy(*columns)
    except Exception as error:  # noqa: BLE001 -- no figure may cost the model
        logger.warning("no accuracy of a linear model: %s", class_and_line(error))
        mlflow.set_tag(f"missing_{BASELINE}", class_and_line(error))
        return
    mlflow.log_metric(BASELINE, accuracy)


def _last_usable_checkpoint(checkpoints: Path) -> tuple[str | None, tuple[str, ...]]:
    """Return the last checkpoint that can be read, and the names of those that cannot.

    Those are removed: a kill left them incomplete, or a file of theirs is damaged. One of them may
    have the best weights, which the training would read at its end.
    """
    dropped: list[str] = []
    found = checkpoints.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
    for path in sorted(found, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True):
        if reason := _damage(path):
            logger.warning("dropping the checkpoint %s: %s", path, reason)
            shutil.rmtree(path)
            dropped.append(path.name)
    if dropped:
        mlflow.set_tag("dropped_checkpoints", json.dumps(dropped))
    if last := get_last_checkpoint(str(checkpoints)):
        logger.info("continuing from %s", last)
        mlflow.set_tag("resumed_from", Path(last).name)
    return last, tuple(dropped)


def _damage(checkpoint: Path) -> str:
    """Return which file of a checkpoint cannot be read, or an empty string."""
    weights = sorted(checkpoint.glob("*.safetensors")) or [checkpoint / SAFE_WEIGHTS_NAME]
    random_states = sorted(checkpoint.glob("rng_state*.pth")) or [checkpoint / "rng_state.pth"]
    states = [checkpoint / OPTIMIZER_NAME, checkpoint / SCHEDULER_NAME, *random_states]
    # The Trainer writes it last.
    path = checkpoint / TRAINER_STATE_NAME
    try:
        json.loads(path.read_text(encoding="utf-8"))
        for path in weights:
            load_file(path)
        for path in states:
            _check_archive(path)
    except (OSError, ValueError, SafetensorError, BadZipFile) as error:
        return f"{path.name} cannot be read ({type(error).__name__})"
    return ""


def _check_archive(path: Path) -> None:
    """Compare the checksums in a file that torch wrote, without running what it holds."""
    with ZipFile(path) as archive:
        if archive.testzip() is not None:
            raise BadZipFile(f"{path}: another checksum")
