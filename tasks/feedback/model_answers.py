"""The version that answers today, for texts that no scoring has."""

from collections.abc import Sequence

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
        return [
            response
            and GivenAnswer(
                response["prediction_label"],
                response["prediction_score"],
                uri,
                document["model_metadata"].get("decided_by", ""),
            )
            for document in documents
            for response in [document["response"]]
        ]

    return AnsweringModel(tuple(load_typed_pipeline(uri).labels), answer)
