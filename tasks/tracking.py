"""MLflow: the connection, experiments, and what every run records about its origin."""

import logging
import shutil
import subprocess
from importlib.metadata import version
from urllib.parse import urlsplit

import mlflow
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tasks.settings import REPOSITORY, get_settings

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


def connect() -> MlflowClient:
    """Point MLflow at the settings' server or database and return a client."""
    settings = get_settings()
    # They narrate the making of a new database, and each model that is looked at.
    for name in ("alembic", "mlflow.pyfunc", "mlflow.transformers"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It logs the whole traceback of every error that it raises as well.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    mlflow.set_tracking_uri(settings.tracking_uri)
    client = MlflowClient()
    if urlsplit(settings.tracking_uri).scheme not in SERVER_SCHEMES:
        settings.root.mkdir(parents=True, exist_ok=True)
        # Processes that open a new database at once crash in its migration.
        with FileLock(settings.root / "mlflow.lock"):
            client.search_experiments(max_results=1)
    return client


def experiment_id(name: str) -> str:
    """Return the id of experiment `name`; a new one keeps its artifacts under `home`."""
    client = connect()
    settings = get_settings()
    settings.root.mkdir(parents=True, exist_ok=True)
    with FileLock(settings.root / "mlflow.lock"):
        experiment = client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        # On a database MLflow would put artifacts into ./mlruns; a server knows its own place.
        on_server = urlsplit(settings.tracking_uri).scheme in SERVER_SCHEMES
        location = None if on_server else (settings.artifacts / name).as_uri()
        return str(client.create_experiment(name, artifact_location=location))


def may_pass(error: MlflowException) -> bool:
    """Return whether the same call may succeed later, as when the database is locked."""
    return bool(error.error_code == "TEMPORARILY_UNAVAILABLE")


def is_missing(error: MlflowException) -> bool:
    """Return whether what was asked for is not there, or was deleted."""
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


def package_versions() -> dict[str, str]:
    """Return the installed versions of the packages that shape a result."""
    return {name: version(name) for name in RECORDED_PACKAGES}


def pinned(*packages: str) -> list[str]:
    """Return pip requirements for the installed versions of `packages`."""
    # A local label such as +cpu names a build that other machines cannot install.
    return [f"{name}=={version(name).split('+')[0]}" for name in packages]
