"""The version that answers today, for texts that no scoring has."""

from collections.abc import Mapping, Sequence
from typing import Any

from pyfunc.batching import DEFAULT_BATCH_TOKENS
from tasks.feedback.collecting import AnsweringModel
from tasks.feedback.types import GivenAnswer
from tasks.tracking.pipeline_loader import load_pipeline, load_typed_pipeline, predict_documents
from tasks.tracking.registry import resolve_pipeline


def load_answering_model(model_uri: str) -> AnsweringModel:
    """Return the pipeline version that `model_uri` means now.

    Raises:
        ParameterError: If there is no such version.
        ModelError: If it cannot be used.
    """
    uri = resolve_pipeline(model_uri)

    def answer(texts: Sequence[str]) -> list[GivenAnswer | None]:
        documents = predict_documents(
            load_pipeline(uri), list(texts), use_cache=True, batch_tokens=DEFAULT_BATCH_TOKENS
        )
        return [_answer_of(document, uri) for document in documents]

    return AnsweringModel(tuple(load_typed_pipeline(uri).labels), answer)


def _answer_of(document: Mapping[str, Any], model_uri: str) -> GivenAnswer | None:
    response = document["response"]
    if response is None:
        return None
    return GivenAnswer(
        label=response["prediction_label"],
        score=response["prediction_score"],
        model_uri=model_uri,
        member=document["model_metadata"].get("decided_by", ""),
    )
