"""MLflow run of a training: start or resume it, find it again, log its inputs and its model."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from huggingface_hub import ModelCard
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.pandas_dataset import from_pandas
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.common.errors import ModelError
from tasks.common.files import published_file
from tasks.dataset.types import Split
from tasks.tracking.logged_models import is_usable
from tasks.tracking.mlflow_client import (
    connect,
    ensure_experiment,
    git_commit,
    package_versions,
    pip_requirements,
)
from tasks.tracking.names import (
    FINETUNED_MODEL,
    MAX_RUN_NAME,
    SERIES_TAG,
    TRAINING_EXPERIMENT,
    series_of,
)
from tasks.training.logged_rows import SPLIT_FILE, log_rows
from tasks.training.types import RUN_FILE, FineTuned, FineTuneParameters

logger = logging.getLogger(__name__)

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, "text")]),
    outputs=Schema([ColSpec(DataType.string, "label"), ColSpec(DataType.double, "score")]),
)

_LONGEST_NAME = MAX_RUN_NAME - len("-12345678")


def find_equal_training(key: str) -> FineTuned | None:
    """Return the model that an earlier run trained from equal data and parameters."""
    runs = connect().search_runs(
        [ensure_experiment(TRAINING_EXPERIMENT)],
        filter_string=f"tags.training_key = '{key}' and tags.model_uri LIKE 'models:/%'",
    )
    for run in runs:
        # `clean_up` deletes models and keeps their runs.
        if is_usable(model_uri := run.data.tags["model_uri"]):
            run_id = run.info.run_id
            logger.info(
                "the training is not repeated: run %s had the same data, base model and parameters",
                run_id,
            )
            return FineTuned(run_id=run_id, model_uri=model_uri, reused=True)
    return None


def find_run(run_id: str) -> FineTuned:
    """Return the model that run `run_id` logged.

    Raises:
        ModelError: If there is no such run, it logged no model, or its model is gone.
    """
    try:
        run = connect().get_run(run_id)
    except MlflowException as error:
        raise ModelError(
            f"finetuned_run_id: {run_id!r} is no MLflow run ({error.message})"
        ) from error
    if "model_uri" not in run.data.tags:
        raise ModelError(f"finetuned_run_id: run {run_id} logged no model; expected a finished one")
    if not is_usable(run.data.tags["model_uri"]):
        raise ModelError(
            f"finetuned_run_id: the model of run {run_id} was freed; expected one that is there, "
            "or the step fine_tuning_model"
        )
    return FineTuned(run_id=run_id, model_uri=run.data.tags["model_uri"], reused=True)


def open_run(checkpoints: Path, key: str, parameters: FineTuneParameters) -> mlflow.ActiveRun:
    """Start a run, or resume the one whose id a killed process left beside its checkpoints."""
    record = checkpoints / RUN_FILE
    if record.is_file() and (run_id := _existing_run(record.read_text(encoding="utf-8"))):
        logger.info("continuing run %s", run_id)
        return mlflow.start_run(run_id=run_id)
    run = mlflow.start_run(
        experiment_id=ensure_experiment(TRAINING_EXPERIMENT),
        run_name=f"{Path(parameters.base_model).name[:_LONGEST_NAME]}-{key[:8]}",
        tags={"training_key": key, "git_commit": git_commit()},
    )
    with published_file(record) as draft:
        draft.write_text(run.info.run_id, encoding="utf-8")
    return run


def _existing_run(run_id: str) -> str | None:
    try:
        connect().get_run(run_id)
    except MlflowException:
        logger.warning("run %s is not in MLflow any more; its checkpoints go to a new run", run_id)
        return None
    return run_id


def log_training_inputs(
    split: Split,
    parameters: FineTuneParameters,
    rows: pd.DataFrame,
    *,
    family: str,
    bf16: bool,
    unlabelled: Sequence[str] = (),
) -> None:
    """Log the parameters, the data set with its digest, and the versions of packages.

    Args:
        split: The labelled rows.
        parameters: Those of the training.
        rows: The sample of its train part that the model is trained on.
        family: That of the base model, as `bert`.
        bf16: Whether matrix products run in bfloat16.
        unlabelled: Texts without a label that the model is trained on as well.
    """
    _log_parameters(parameters.logged() | {"source": split.source, "bf16": bf16})
    mlflow.set_tag("data_digest", split.digest)
    # Not the digest: the data of a series grow, and change names of neither source nor labels.
    mlflow.set_tag(SERIES_TAG, series_of(FINETUNED_MODEL, split.labels, split.source, family))
    # MLflow allows a digest of 36 characters; the tag has all of it.
    source = CodeDatasetSource({"source": split.source, "split": str(split.folder)})
    dataset = from_pandas(
        rows, source=source, targets="label", name="train", digest=split.digest[:36]
    )
    mlflow.log_input(dataset, context="training")
    mlflow.log_dict(split.model_dump(mode="json"), SPLIT_FILE)
    log_rows(split, rows, unlabelled)
    mlflow.log_dict(package_versions(), "packages.json")


def _log_parameters(parameters: dict[str, Any]) -> None:
    """Log parameters; those that a resumed run was started with otherwise go into a tag.

    MLflow refuses another value of a parameter. Only what does not decide the weights can differ:
    other parameters have another run.
    """
    run = mlflow.active_run()
    known = connect().get_run(run.info.run_id).data.params if run else {}
    changed = {
        name: value
        for name, value in parameters.items()
        if known.get(name, str(value)) != str(value)
    }
    mlflow.log_params({name: value for name, value in parameters.items() if name not in known})
    if changed:
        logger.info("continuing with %s", changed)
        mlflow.set_tag("resumed_with", json.dumps(changed))


def log_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    split: Split,
    parameters: FineTuneParameters,
) -> str:
    """Log model and tokenizer in MLflow's transformers flavour; return `models:/m-…`."""
    card = ModelCard(
        "---\nlibrary_name: transformers\npipeline_tag: text-classification\n---\n"
        f"# Fine-tuned text classifier\n\nLabels: {', '.join(split.labels)}. "
        f"Base model: {parameters.base_model}. Data: {split.source}, SHA-256 {split.digest}.\n"
    )
    info = mlflow.transformers.log_model(
        # Without a card MLflow downloads one from the Hugging Face Hub.
        model_card=card,
        transformers_model={"model": model.cpu().eval(), "tokenizer": tokenizer},
        task="text-classification",
        name="model",
        signature=SIGNATURE,
        input_example=pd.DataFrame({"text": ["Great movie"]}),
        pip_requirements=pip_requirements("torch", "transformers"),
    )
    return f"models:/{info.model_id}"
