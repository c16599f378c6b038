"""Resolve a model URI to a registered pipeline version and the engine it uses here."""

from tasks.scoring.types import ScoringModel
from tasks.tracking.pipeline_loader import load_typed_pipeline
from tasks.tracking.registry import resolve_pipeline


def resolve_scoring_model(model_uri: str) -> ScoringModel:
    """Return the version that `model_uri` means now.

    Args:
        model_uri: `models:/<name>/<number>` or `models:/<name>@<alias>`.

    Raises:
        ModelError: If there is no such version, or it cannot be used.
        ParameterError: If the URI is of another form.
    """
    uri = resolve_pipeline(model_uri)
    pipeline = load_typed_pipeline(uri)
    return ScoringModel(
        uri=uri,
        fingerprint=pipeline.fingerprint,
        labels=tuple(pipeline.labels),
        engine=pipeline.variant.engine,
        precision=pipeline.variant.precision,
        device=pipeline.device,
        fallback=pipeline.fallback,
    )
