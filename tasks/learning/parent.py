"""The version to learn on: what its training logged, and the rows that it was trained on."""

from dataclasses import dataclass

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from tasks.common.errors import ModelError
from tasks.dataset.types import Split
from tasks.tracking.mlflow_client import connect, is_transient, read_logged_json
from tasks.tracking.names import (
    ORIGINAL_RUN_TAG,
    RegisteredModel,
)
from tasks.tracking.registry import get_version
from tasks.training.logged_rows import SPLIT_FILE
from tasks.training.types import FineTuneParameters


@dataclass(frozen=True)
class Parent:
    """A registered version of `dl_finetuned_model`, and its training.

    Attributes:
        uri: The version, as `models:/dl_finetuned_model/1`.
        model_uri: Its logged model, as `models:/m-…`.
        run: The MLflow run that logged it.
        original_run_id: The run of the training whose head was learnt again since, or its own.
        split: The split of that training, as it was logged; its files may be gone.
        parameters: Those of that training.
    """

    uri: str
    model_uri: str
    run: Run
    original_run_id: str
    split: Split
    parameters: FineTuneParameters


def read_parent(version: RegisteredModel) -> Parent:
    """Return a version with what its training logged.

    Raises:
        ModelError: If the version or its training is gone, or that did not log its data set.
    """
    registered = get_version(version.name, version.version)
    run = _read_run(version, str(registered.run_id))
    record = read_logged_json(run.info.run_id, SPLIT_FILE)
    if record is None:
        raise ModelError(
            f"{version.uri}: its training run {run.info.run_id} has no {SPLIT_FILE}; expected one, "
            "as each training of today logs it: train again"
        )
    known = {name: run.data.params.get(name) for name in FineTuneParameters.model_fields}
    return Parent(
        uri=version.uri,
        model_uri=str(registered.source),
        run=run,
        original_run_id=run.data.tags.get(ORIGINAL_RUN_TAG, run.info.run_id),
        split=Split.model_validate(record),
        parameters=FineTuneParameters.model_validate(
            {name: value for name, value in known.items() if value is not None}
        ),
    )


def _read_run(version: RegisteredModel, run_id: str) -> Run:
    try:
        return connect().get_run(run_id)
    except MlflowException as error:
        if is_transient(error):
            raise
        raise ModelError(
            f"{version.uri}: its training run {run_id!r} is not in MLflow; expected a version that "
            "a training of Millstream logged"
        ) from error
