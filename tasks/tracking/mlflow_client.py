"""The MLflow client: connection, experiments, artifacts, git commit and package versions."""

import json
import logging
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode, urlsplit

import mlflow
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from sqlalchemy import make_url

from tasks.common.errors import MillstreamError, ModelError
from tasks.common.settings import REPOSITORY, Settings, get_settings
from tasks.common.task_errors import class_and_line
from tasks.tracking.location import check_location

SERVER_SCHEMES = ("http", "https", "databricks")

RECORDED_PACKAGES = (
    "diskcache",
    "gcld3",
    "mlflow",
    "nncf",
    "openvino",
    "pandas",
    "prefect",
    "tokenizers",
    "torch",
    "transformers",
)

_LEVELS = {
    # They log each migration of a new database, and each model that is loaded.
    **dict.fromkeys(("alembic", "mlflow.pyfunc", "mlflow.transformers"), logging.WARNING),
    # It logs the traceback of each error, besides raising it.
    "mlflow.store.db.utils": logging.CRITICAL,
}


def connect() -> MlflowClient:
    """Point MLflow at the settings' server or database and return a client.

    Raises:
        ParameterError: If the database has its artifacts in another state folder.
    """
    settings = get_settings()
    check_location(settings)
    for name, level in _LEVELS.items():
        logger = logging.getLogger(name)
        if logger.level != level:  # setting it empties what all loggers remember
            logger.setLevel(level)
    mlflow.set_tracking_uri(settings.tracking_uri)
    if urlsplit(settings.tracking_uri).scheme in SERVER_SCHEMES:
        return MlflowClient()
    settings.root.mkdir(parents=True, exist_ok=True)
    _open_database(settings.tracking_uri, _database_lock(settings))
    return MlflowClient()


@cache  # MLflow keeps it open in this process
def _open_database(tracking_uri: str, lock: Path) -> None:
    # Concurrent migrations of a new database crash; the client begins with one.
    with FileLock(lock):
        MlflowClient(tracking_uri).search_experiments(max_results=1)


def ensure_experiment(name: str) -> str:
    """Return the id of experiment `name`; a new one has its artifacts under `home`."""
    client = connect()
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        # Without a server MLflow would write artifacts to ./mlruns.
        settings = get_settings()
        on_server = urlsplit(settings.tracking_uri).scheme in SERVER_SCHEMES
        location = None if on_server else (settings.artifacts / name).as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException as error:
            # Another process made it meanwhile, of this state folder or of one that shares MLflow.
            experiment = client.get_experiment_by_name(name)
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or experiment is None:
                raise
    return str(experiment.experiment_id)


def _database_lock(settings: Settings) -> Path:
    """Return the lock of the database: beside it, since several state folders may share it."""
    url = make_url(settings.tracking_uri)
    if url.get_backend_name() == "sqlite" and url.database:
        return Path(url.database).with_suffix(".lock")
    return settings.root / "mlflow.lock"


def report_url(experiment: str, run_id: str, report: str) -> str:
    """Return the URL of a run's artifact in MLflow's UI."""
    return (
        f"{get_settings().mlflow_url}/#/experiments/{experiment}/runs/{run_id}/artifacts/{report}"
    )


def download_url(run_id: str, path: str) -> str:
    """Return the URL by which a browser downloads a run's artifact from MLflow's server."""
    return (
        f"{get_settings().mlflow_url}/get-artifact?{urlencode({'run_uuid': run_id, 'path': path})}"
    )


def missing_file_reason(error: Exception) -> str:
    """Return in one line why a report or plot was not made; raise a transient error again."""
    if isinstance(error, MlflowException) and is_transient(error):
        raise error
    named = str(error) if isinstance(error, MillstreamError) else class_and_line(error)
    return f"not made ({named})"


def has_artifact(run_id: str, path: str) -> bool:
    """Return whether a run has an artifact at `path`."""
    folder = path.rpartition("/")[0] or None
    try:
        return path in {file.path for file in connect().list_artifacts(run_id, folder)}
    except MlflowException as error:
        if is_transient(error):
            raise
        return False  # the run was deleted


def read_logged_json(run_id: str, path: str) -> Any:
    """Return a run's JSON artifact, or None if it is missing or damaged."""
    if not has_artifact(run_id, path):
        return None
    with TemporaryDirectory(prefix="millstream-") as folder:
        local = Path(connect().download_artifacts(run_id, path, folder))
        try:
            return json.loads(local.read_text(encoding="utf-8"))
        except ValueError:
            return None


@contextmanager
def downloaded_model_file(model_uri: str, path: str) -> Iterator[Path]:
    """Yield a temporary copy of one file of a fine-tuned model, without fetching its weights.

    Args:
        model_uri: The model in MLflow.
        path: The file's path in it.

    Raises:
        ModelError: If the model or the file is gone.
    """
    with TemporaryDirectory(prefix="millstream-") as folder:
        try:
            file = mlflow.artifacts.download_artifacts(f"{model_uri}/{path}", dst_path=folder)
        except MlflowException as error:
            raise ModelError(
                f"{model_uri}: expected a fine-tuned model ({error.message})"
            ) from error
        yield Path(file)


def run_start_time(run: Run) -> datetime:
    """Return the start time of a run, in UTC."""
    return datetime.fromtimestamp(run.info.start_time / 1000, UTC)


def is_transient(error: MlflowException) -> bool:
    """Return whether the same call may succeed later, as when the database is locked."""
    return bool(error.error_code == "TEMPORARILY_UNAVAILABLE")


def is_missing(error: MlflowException) -> bool:
    """Return whether the requested entity does not exist, or was deleted."""
    return bool(error.error_code == "RESOURCE_DOES_NOT_EXIST")


def git_commit() -> str:
    """Return the repository's commit, with `-dirty` for uncommitted changes, or `unknown`."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    described = subprocess.run(
        [git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"


def package_versions(*others: str) -> dict[str, str]:
    """Return the installed versions of `RECORDED_PACKAGES` and others that can change a result."""
    return {name: version(name) for name in sorted({*RECORDED_PACKAGES, *others})}


def pip_requirements(*packages: str) -> list[str]:
    """Return pip requirements for the installed versions of `packages`."""
    # Package indexes lack builds with a local label such as +cpu.
    return [f"{name}=={version(name).split('+')[0]}" for name in packages]
