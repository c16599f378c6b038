"""Load registered pipelines, keep the last ones, and predict with them."""

import json
import threading
from typing import Any, cast

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel

from pyfunc.business.logic import BusinessLogic
from pyfunc.contract import CONTRACT
from pyfunc.errors import PipelineError
from pyfunc.pipeline import InferencePipeline
from tasks.common.errors import ModelError
from tasks.common.settings import get_settings
from tasks.tracking.contract_adapter import EARLIER_CONTRACT, EarlierPipeline
from tasks.tracking.mlflow_client import connect, is_transient
from tasks.tracking.names import PIPELINE_MODEL, parse_pipeline_reference
from tasks.tracking.pipeline_members import rebuild_command
from tasks.tracking.registry import find_registered_version, find_version

# As many as a split of scoring has; online, the version that answers and the one before.
_MOST_LOADED = 2

_load_lock = threading.Lock()
# By URI and registry: another registry has another model at the same URI.
_loaded: dict[tuple[str, str, str], PyFuncModel] = {}


def load_pipeline(model_uri: str) -> PyFuncModel:
    """Return the pipeline at `model_uri`; a process keeps the last two.

    Args:
        model_uri: An immutable URI: `models:/<name>/<number>`, not an alias.

    Raises:
        ModelError: If it cannot be loaded.
    """
    key = _key(model_uri)
    with _load_lock:
        model = _loaded.pop(key, None) or _load(model_uri)
        _loaded[key] = model  # the last used is the last
        for oldest in list(_loaded)[:-_MOST_LOADED]:
            del _loaded[oldest]
        return model


def is_loaded(model_uri: str) -> bool:
    """Return whether `load_pipeline` has this pipeline at hand."""
    return _key(model_uri) in _loaded


def forget_pipelines() -> None:
    """Let go of the pipelines that were loaded; one in use stays until its user lets go of it."""
    with _load_lock:
        _loaded.clear()


def _key(model_uri: str) -> tuple[str, str, str]:
    settings = get_settings()
    return model_uri, settings.tracking_uri, str(settings.prediction_cache)


def _load(model_uri: str) -> PyFuncModel:
    connect()
    try:
        model: PyFuncModel = mlflow.pyfunc.load_model(
            model_uri, model_config={"cache_dir": str(get_settings().prediction_cache)}
        )
    except MlflowException as error:
        if is_transient(error):
            raise
        raise ModelError(f"{model_uri}: cannot be loaded ({error.message})") from error
    except Exception as error:
        # A version ships error classes of its own, so that only their names can be compared.
        if all(cls.__name__ != PipelineError.__name__ for cls in type(error).__mro__):
            raise
        raise ModelError(f"{model_uri}: cannot be loaded ({error})") from error
    return model


def load_typed_pipeline(model_uri: str) -> InferencePipeline:
    """Return the pipeline inside the model at `model_uri`, with its typed `answer`.

    Its classes come from the code that the version ships, not from this process's own modules. A
    pipeline of the contract before has the API of today by an adapter.

    Raises:
        ModelError: If it cannot be loaded, or its code has an older contract, with the command that
            builds it anew.
    """
    model: Any = load_pipeline(model_uri)
    pipeline: Any = getattr(model.unwrap_python_model(), "pipeline", None)
    contract = getattr(pipeline, "contract", None)
    if contract == EARLIER_CONTRACT:
        pipeline = EarlierPipeline(pipeline)
    elif contract != CONTRACT:
        raise ModelError(
            f"{model_uri}: ships code of contract {contract}; expected {CONTRACT} or "
            f"{EARLIER_CONTRACT}, of a version that {_rebuild_command(model_uri)} builds now"
        )
    return cast("InferencePipeline", pipeline)


def load_logic(model_uri: str) -> BusinessLogic | None:
    """Return the look-ups and rules of the pipeline at `model_uri`, or None if it has none.

    Raises:
        ModelError: If it cannot be loaded.
    """
    logic: BusinessLogic | None = getattr(load_typed_pipeline(model_uri), "logic", None)
    return logic


def _rebuild_command(model_uri: str) -> str:
    if model_uri.startswith("models:/m-"):
        version = find_registered_version(PIPELINE_MODEL, model_uri)
    else:
        version = find_version(*parse_pipeline_reference(model_uri))
    return rebuild_command(version) if version else "python -m flows.build_inference_pipeline"


def predict_documents(
    model: PyFuncModel, texts: list[Any], *, use_cache: bool, batch_tokens: int
) -> list[dict[str, Any]]:
    """Return the model's JSON documents for `texts`, parsed, in their order.

    Look-ups and rules are left out, which may refuse a text without its other columns.
    """
    typed: Any = model
    python_model = typed.unwrap_python_model()
    if inner := getattr(getattr(python_model, "pipeline", None), "inner", None):
        found = inner.predict(texts, use_cache=use_cache, batch_tokens=batch_tokens)
        return [json.loads(document) for document in found]
    rows: Any = model.predict(
        pd.DataFrame({"text": pd.Series(texts, dtype=object)}),
        params={"use_cache": use_cache, "batch_tokens": batch_tokens},
    )
    return [json.loads(document) for document in rows["text"]]
