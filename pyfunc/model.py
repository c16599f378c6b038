"""The models-from-code script: MLflow runs it to load the model.

MLflow loads it under a generated name, so relative imports fail, and with `code_paths` two
versions would collide in one process. The package is therefore an artifact, imported under a name
made from its digest: each version runs the code that it was shipped with.
"""

import hashlib
import importlib
import importlib.util
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
from mlflow.models import Model, set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

_import_lock = threading.Lock()


def load_shipped_package(folder: Path) -> ModuleType:
    """Import the package in `folder` under a name unique to its code.

    Args:
        folder: A package's folder, with `__init__.py`.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    name = f"millstream_pyfunc_{digest.hexdigest()[:16]}"
    with _import_lock:
        if name not in sys.modules:
            sys.modules[name] = _import_package(folder, name)
        _redirect_imports(folder, name)
        return importlib.import_module(f"{name}.opening")


def _import_package(folder: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder}: expected a package")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _redirect_imports(folder: Path, name: str) -> None:
    """Let the imported package and its sub-packages find their modules in `folder`.

    Engines are imported late, and the folder of the first load may be deleted by then.
    """
    for found, module in list(sys.modules.items()):
        if found.partition(".")[0] == name and hasattr(module, "__path__"):
            module.__path__ = [str(folder.joinpath(*found.split(".")[1:]))]


class PipelineModel(PythonModel):
    """Adapter between MLflow's data frames and the shipped pipeline."""

    @property
    def pipeline(self) -> Any:
        """The loaded pipeline."""
        return self._pipeline

    def load_context(self, context: PythonModelContext) -> None:
        """Load the shipped code and weights; `mlflow.pyfunc.load_model` calls it once."""
        folder = Path(context.artifacts["pipeline"])
        package = load_shipped_package(folder / "pyfunc")
        model_id = Model.load(folder.parents[1]).model_id
        self._pipeline = package.open_pipeline(
            folder, model_uri=f"models:/{model_id}", model_config=context.model_config
        )

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return the answers to the column `text` in a column `text`, row by row.

        Other columns are there only if the signature has them: keys of look-ups, and what rules
        read.
        """
        options = dict(params or {})
        if others := [name for name in model_input.columns if name != "text"]:
            options["columns"] = {name: model_input[name].tolist() for name in others}
        answers = self._pipeline.predict(model_input["text"].tolist(), **options)
        return pd.DataFrame({"text": answers}, index=model_input.index)


set_model(PipelineModel())
