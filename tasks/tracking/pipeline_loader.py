"""Registered pipelines, loaded once a process, and their answers as Python objects."""

import json
import threading
from functools import lru_cache
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel

from pyfunc.contract import CONTRACT
from pyfunc.errors import PipelineError
from pyfunc.pipeline import InferencePipeline
from tasks.common.errors import ModelError
from tasks.common.settings import get_settings
from tasks.tracking.mlflow_client import connect, is_transient

_load_lock = threading.Lock()


def load_pipeline(model_uri: str) -> PyFuncModel:
    """Return the pipeline at `model_uri`; each process loads it once.

    Args:
        model_uri: A URI that cannot come to mean another model: `models:/<name>/<number>`.

    Raises:
        ModelError: If it cannot be loaded.
    """
    settings = get_settings()
    with _load_lock:
        return _load(model_uri, settings.tracking_uri, str(settings.prediction_cache))


@lru_cache(maxsize=2)
def _load(model_uri: str, _registry: str, cache_dir: str) -> PyFuncModel:
    # In another registry the same URI is another model.
    connect()
    try:
        model: PyFuncModel = mlflow.pyfunc.load_model(
            model_uri, model_config={"cache_dir": cache_dir}
        )
    except MlflowException as error:
        if is_transient(error):
            raise
        raise ModelError(f"{model_uri}: cannot be loaded ({error.message})") from error
    except Exception as error:
        if not _is_unfit(error):
            raise
        raise ModelError(f"{model_uri}: cannot be loaded ({error})") from error
    return model


def _is_unfit(error: Exception) -> bool:
    """Tell whether a version refuses to be loaded; it ships the classes of its errors, too."""
    return any(kind.__name__ == PipelineError.__name__ for kind in type(error).__mro__)


def typed_pipeline(model_uri: str) -> InferencePipeline:
    """Return the pipeline inside the model at `model_uri`, with its typed `answer`.

    Its classes are those of the code that the version ships, which are not this process's own.

    Raises:
        ModelError: If it cannot be loaded, or its code is of another contract.
    """
    model: Any = load_pipeline(model_uri)
    pipeline: Any = getattr(model.unwrap_python_model(), "pipeline", None)
    contract = getattr(pipeline, "contract", None)
    if contract != CONTRACT:
        raise ModelError(
            f"{model_uri}: ships code of contract {contract}; expected {CONTRACT}, of a version "
            "that flows.build_inference_pipeline makes now"
        )
    typed: InferencePipeline = pipeline
    return typed


def ask(
    model: PyFuncModel, texts: list[Any], *, use_cache: bool, batch_tokens: int
) -> list[dict[str, Any]]:
    """Return the model's JSON documents for `texts`, parsed, in their order."""
    rows: Any = model.predict(
        pd.DataFrame({"text": pd.Series(texts, dtype=object)}),
        params={"use_cache": use_cache, "batch_tokens": batch_tokens},
    )
    return [json.loads(document) for document in rows["text"]]
