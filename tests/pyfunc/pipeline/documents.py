"""Opening a pipeline, and comparing what it answers."""

from pathlib import Path
from typing import Any

import pytest

from pyfunc.opening import open_pipeline
from pyfunc.pipeline import InferencePipeline

MODEL_URI = "models:/m-1"


def opened(artifact: Path, cache: Path) -> InferencePipeline:
    pipeline = open_pipeline(artifact, model_uri=MODEL_URI, model_config={"cache_dir": str(cache)})
    assert isinstance(pipeline, InferencePipeline)
    return pipeline


def answer(document: dict[str, Any]) -> Any:
    """Return every field but `cached`, equal to another's within 1e-5 in the score."""
    response, metadata = document["response"], document["metadata"]
    return document | {
        "metadata": {name: value for name, value in metadata.items() if name != "cached"},
        "response": response
        and response | {"prediction_score": pytest.approx(response["prediction_score"], abs=1e-5)},
    }


def cached(documents: list[dict[str, Any]]) -> list[bool]:
    return [document["metadata"]["cached"] for document in documents]
