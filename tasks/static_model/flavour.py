"""MLflow flavour of the static classifier.

MLflow loads a model by `python_function`, its common flavour, whose entry in `MLmodel` names a
module with `_load_pyfunc`. The model ships the module: the package `pyfunc/`, under a name made
from its digest. MLflow puts the folder of the shipped code on `sys.path`, and Python imports a name
once, so that under a fixed name the second version of a process would run the code of the first.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
import yaml
from mlflow import pyfunc as mlflow_pyfunc
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME, ModelInfo
from mlflow.utils.environment import _process_pip_requirements, _PythonEnv

from pyfunc.classifier import Classifier
from pyfunc.fingerprint import digest_code
from pyfunc.static.loader import _load_pyfunc
from tasks.common.errors import ModelError
from tasks.common.settings import REPOSITORY
from tasks.tracking.mlflow_client import downloaded_model_file
from tasks.tracking.mlflow_client import pip_requirements as pinned

__all__ = [
    "FLAVOR_NAME",
    "_load_pyfunc",
    "classifier_folder",
    "get_default_pip_requirements",
    "is_static_version",
    "load_model",
    "log_model",
    "save_model",
]

FLAVOR_NAME = "static_classifier"

PACKAGE = REPOSITORY / "pyfunc"

_DATA, _CODE = "classifier", "code"
_ENVIRONMENTS = {"conda_env": "conda.yaml", "python_env": "python_env.yaml"}


def get_default_pip_requirements() -> list[str]:
    """Return the packages that a logged model needs: no torch, no transformers."""
    return pinned("mlflow", "numpy", "pandas", "safetensors", "tokenizers")


def save_model(
    classifier: Path,
    path: str | Path,
    *,
    mlflow_model: Model | None = None,
    signature: ModelSignature | None = None,
    pip_requirements: Sequence[str] | None = None,
) -> None:
    """Save a static classifier as an MLflow model.

    Args:
        classifier: Folder with its weights, configuration and tokenizer.
        path: Folder to write to; it must not exist, or be empty.
        mlflow_model: What `MLmodel` holds already; `Model.log` gives it.
        signature: The columns of input and output.
        pip_requirements: What it needs; `None` takes `get_default_pip_requirements`.

    Raises:
        MlflowException: If `path` has files.
    """
    target, model = Path(path), mlflow_model or Model()
    if target.is_dir() and any(target.iterdir()):
        raise MlflowException(f"{target}: expected no folder, or an empty one")
    package = f"static_classifier_{digest_code(PACKAGE)[:16]}"
    shutil.copytree(classifier, target / _DATA)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, target / _CODE / package, ignore=ignored)
    if signature is not None:
        model.signature = signature
    model.add_flavor(FLAVOR_NAME, data=_DATA, code=_CODE)
    mlflow_pyfunc.add_to_model(
        model,
        loader_module=f"{package}.static.loader",
        data=_DATA,
        code=_CODE,
        **_ENVIRONMENTS,
    )
    model.save(target / MLMODEL_FILE_NAME)
    _write_environment(target, pip_requirements or get_default_pip_requirements())


def log_model(classifier: Path, name: str, **options: Any) -> ModelInfo:
    """Log a static classifier to the active run.

    Args:
        classifier: Folder with its weights, configuration and tokenizer.
        name: Of the logged model.
        options: Those of `save_model`, and of MLflow's `Model.log`, as `registered_model_name`.
    """
    info: ModelInfo = Model.log(
        artifact_path=None,
        name=name,
        flavor=sys.modules[__name__],
        classifier=classifier,
        **options,
    )
    return info


def load_model(model_uri: str, dst_path: str | None = None) -> Classifier:
    """Load a logged static classifier, with the code of this project.

    Args:
        model_uri: The model, as `models:/dl_finetuned_model/1`.
        dst_path: An existing folder to download to.

    Raises:
        ModelError: If the model has another flavour.
        ArtifactError: If a file is missing or cannot be used.
    """
    downloaded = Path(mlflow.artifacts.download_artifacts(model_uri, dst_path=dst_path))
    folder = classifier_folder(downloaded)
    if folder is None:
        raise ModelError(f"{model_uri}: has no flavour {FLAVOR_NAME}; expected a static classifier")
    return _load_pyfunc(str(folder)).classifier


def classifier_folder(model: Path) -> Path | None:
    """Return the folder of the classifier in a downloaded model; None if it has another flavour."""
    if not (model / MLMODEL_FILE_NAME).is_file():
        return None
    entry = Model.load(model).flavors.get(FLAVOR_NAME)
    return None if entry is None else model / entry["data"]


def is_static_version(model_uri: str) -> bool:
    """Return whether a model in MLflow is a static classifier, without fetching its weights.

    Raises:
        ModelError: If it is gone.
    """
    with downloaded_model_file(model_uri, MLMODEL_FILE_NAME) as file:
        return FLAVOR_NAME in Model.load(str(file)).flavors


def _write_environment(folder: Path, requirements: Sequence[str]) -> None:
    # MLflow's own flavours use these two; there are no public ones.
    conda, lines, _ = _process_pip_requirements(None, list(requirements), None)  # type: ignore[no-untyped-call]
    with (folder / _ENVIRONMENTS["conda_env"]).open("w", encoding="utf-8") as file:
        yaml.safe_dump(conda, stream=file, default_flow_style=False)
    (folder / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _PythonEnv.current().to_yaml(str(folder / _ENVIRONMENTS["python_env"]))  # type: ignore[no-untyped-call]
