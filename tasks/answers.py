"""Registered pipelines, loaded once a process, and their answers as Python objects."""

import json
import threading
from functools import lru_cache
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel

from tasks.classifiers import quiet_transformers
from tasks.errors import ModelError
from tasks.settings import get_settings
from tasks.tracking import connect

_load_lock = threading.Lock()


def load_pipeline(model_uri: str) -> PyFuncModel:
    """Return the pipeline at `model_uri`; each process loads it once.

    Args:
        model_uri: A URI that cannot come to mean another model: `models:/<name>/<number>`.

    Raises:
        ModelError: If it cannot be loaded.
    """
    connect()
    settings = get_settings()
    with _load_lock:
        return _load(model_uri, settings.tracking_uri, str(settings.prediction_cache))


@lru_cache(maxsize=2)
def _load(model_uri: str, _registry: str, cache_dir: str) -> PyFuncModel:
    # In another registry the same URI is another model.
    quiet_transformers()
    try:
        model: PyFuncModel = mlflow.pyfunc.load_model(
            model_uri, model_config={"cache_dir": cache_dir}
        )
    except MlflowException as error:
        raise ModelError(f"{model_uri}: cannot be loaded ({error.message})") from error
    return model


def ask(
    model: PyFuncModel, texts: list[Any], *, use_cache: bool, batch_tokens: int
) -> list[dict[str, Any]]:
    """Return the model's JSON documents for `texts`, parsed, in their order."""
    rows: Any = model.predict(
        pd.DataFrame({"text": pd.Series(texts, dtype=object)}),
        params={"use_cache": use_cache, "batch_tokens": batch_tokens},
    )
    return [json.loads(document) for document in rows["text"]]
