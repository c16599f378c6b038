"""Logged models: whether they are there, what they take, and freeing them for good.

MLflow's own `delete_logged_model` hides a model and leaves its files. So a model is marked first,
its files are removed, and it is deleted last: whatever interrupts that, the mark tells the next
clean-up what to finish, and everybody else that the model is gone.
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

# On a logged model that is being freed: the registered version that it was.
FREEING = "freeing"

_SCHEME = "models:/"


def find_logged(model_uri: str) -> LoggedModel | None:
    """Return the logged model at `models:/m-…`, or None if it is gone; one being freed is there."""
    try:
        return connect().get_logged_model(model_uri.removeprefix(_SCHEME))
    except MlflowException as error:
        if not is_missing(error):
            raise
        return None


def is_usable(model_uri: str) -> bool:
    """Return whether the logged model at `models:/m-…` can be used."""
    model = find_logged(model_uri)
    return model is not None and FREEING not in model.tags


def size_of_model(model_uri: str) -> int:
    """Return the bytes of a logged model's files; none if it is gone."""
    model = find_logged(model_uri)
    return 0 if model is None else _bytes_below(get_artifact_repository(model.artifact_location))


def mark_model(model_uri: str, version_uri: str) -> None:
    """Mark a logged model as one that is being freed, unless it is gone."""
    if find_logged(model_uri):
        connect().set_logged_model_tags(model_uri.removeprefix(_SCHEME), {FREEING: version_uri})


def unmark_model(model_uri: str) -> None:
    """Take back `mark_model`."""
    connect().delete_logged_model_tag(model_uri.removeprefix(_SCHEME), FREEING)


def marked_models(experiments: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the URI of each marked logged model in these experiments, and the version it was."""
    client = connect()
    found = [client.get_experiment_by_name(name) for name in experiments]
    ids = [experiment.experiment_id for experiment in found if experiment is not None]
    if not ids:  # of none MLflow would make the default experiment
        return
    models = mlflow.search_logged_models(
        ids, filter_string=f"tags.{FREEING} LIKE '{_SCHEME}%'", output_format="list"
    )
    yield from ((model.model_uri, model.tags[FREEING]) for model in models)


def free_model(model_uri: str) -> None:
    """Remove a logged model's files, then the model; one that is gone is left so.

    Raises:
        ModelError: If MLflow has its files in a place that may be another's as well.
    """
    model = find_logged(model_uri)
    if model is None:
        return
    location = model.artifact_location
    if model.model_id not in location.split("/"):
        raise ModelError(f"{model_uri}: its files are in {location}; expected a folder of its own")
    get_artifact_repository(location).delete_artifacts()  # type: ignore[no-untyped-call]
    if location.startswith("file:"):
        with suppress(OSError):  # not there, or not empty
            Path(url2pathname(urlsplit(location).path)).parent.rmdir()
    connect().delete_logged_model(model.model_id)


def _bytes_below(files: ArtifactRepository, path: str | None = None) -> int:
    return sum(
        _bytes_below(files, file.path) if file.is_dir else file.file_size or 0
        for file in files.list_artifacts(path)
    )
