"""MLflow logged models: existence, size on disk, and deletion along with their files.

MLflow's own `delete_logged_model` hides a model and leaves its files. So a model is marked first,
then its files are removed, then it is deleted. After an interruption the mark makes the model
unusable and lets the next clean-up finish.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import mlflow
from mlflow.entities import LoggedModel
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from tasks.common.errors import ModelError
from tasks.tracking.mlflow_client import connect, is_missing

# On a logged model that is being deleted: the URI of its registered version.
FREEING_TAG = "freeing"

_SCHEME = "models:/"


def find_logged_model(model_uri: str) -> LoggedModel | None:
    """Return the logged model at `models:/m-…`, marked or not, or None if it does not exist."""
    try:
        return connect().get_logged_model(model_uri.removeprefix(_SCHEME))
    except MlflowException as error:
        if not is_missing(error):
            raise
        return None


def is_usable(model_uri: str) -> bool:
    """Return whether the logged model at `models:/m-…` exists and is not marked for deletion."""
    model = find_logged_model(model_uri)
    return model is not None and FREEING_TAG not in model.tags


def model_size(model_uri: str) -> int:
    """Return the bytes of a logged model's files, 0 if it does not exist."""
    model = find_logged_model(model_uri)
    return 0 if model is None else _artifact_bytes(get_artifact_repository(model.artifact_location))


def mark_for_deletion(model_uri: str, version_uri: str) -> None:
    """Mark a logged model for deletion, if it exists."""
    if find_logged_model(model_uri):
        connect().set_logged_model_tags(model_uri.removeprefix(_SCHEME), {FREEING_TAG: version_uri})


def unmark_for_deletion(model_uri: str) -> None:
    """Take back `mark_for_deletion`."""
    connect().delete_logged_model_tag(model_uri.removeprefix(_SCHEME), FREEING_TAG)


def find_marked_models(experiments: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the URIs of each marked logged model of these experiments and of its version."""
    client = connect()
    found = [client.get_experiment_by_name(name) for name in experiments]
    ids = [experiment.experiment_id for experiment in found if experiment is not None]
    if not ids:  # MLflow would search the default experiment
        return
    models = mlflow.search_logged_models(
        ids, filter_string=f"tags.{FREEING_TAG} LIKE '{_SCHEME}%'", output_format="list"
    )
    yield from ((model.model_uri, model.tags[FREEING_TAG]) for model in models)


def delete_model_and_files(model_uri: str) -> None:
    """Remove a logged model's files, then the model, if it exists.

    Raises:
        ModelError: If its files are in a folder that other models may share.
    """
    model = find_logged_model(model_uri)
    if model is None:
        return
    location = model.artifact_location
    if model.model_id not in location.split("/"):
        raise ModelError(f"{model_uri}: its files are in {location}; expected a folder of its own")
    get_artifact_repository(location).delete_artifacts()  # type: ignore[no-untyped-call]
    if location.startswith("file:"):
        with suppress(OSError):  # missing, or not empty
            Path(url2pathname(urlsplit(location).path)).parent.rmdir()
    connect().delete_logged_model(model.model_id)


def _artifact_bytes(files: ArtifactRepository, path: str | None = None) -> int:
    return sum(
        _artifact_bytes(files, file.path) if file.is_dir else file.file_size or 0
        for file in files.list_artifacts(path)
    )
