"""Resolve a model URI to a registered pipeline version and the engine it uses here."""

from collections.abc import Sequence

from pyfunc.detectors.codes import canonical
from pyfunc.detectors.selection import DETECTORS
from pyfunc.pipeline import InferencePipeline
from tasks.common.errors import ModelError, ParameterError
from tasks.scoring.types import ScoringModel
from tasks.tracking.names import parse_pipeline_reference
from tasks.tracking.pipeline_loader import load_typed_pipeline
from tasks.tracking.pipeline_members import rebuild_command
from tasks.tracking.registry import find_version, resolve_pipeline


def resolve_scoring_model(
    model_uri: str, *, all_scores: bool = False, languages: Sequence[str] = ()
) -> ScoringModel:
    """Return the version that `model_uri` means now.

    Args:
        model_uri: `models:/<name>/<number>` or `models:/<name>@<alias>`.
        all_scores: Whether it is to answer with the probability of every label.
        languages: Codes that its detector is to report.

    Raises:
        ModelError: If there is no such version, or it cannot be used, or was built before
            `all_scores` came.
        ParameterError: If the URI is of another form, or its detector never reports a language.
    """
    uri = resolve_pipeline(model_uri)
    pipeline = load_typed_pipeline(uri)
    if all_scores and not getattr(pipeline, "offers_all_scores", False):
        rebuild = rebuild_command(find_version(*parse_pipeline_reference(uri)))
        raise ModelError(
            f"{uri}: was built without all_scores; expected a version that {rebuild} builds now"
        )
    _check_languages(uri, pipeline, languages)
    return ScoringModel(
        uri=uri,
        fingerprint=pipeline.fingerprint,
        labels=tuple(pipeline.labels),
        engine=pipeline.variant.engine,
        precision=pipeline.variant.precision,
        device=pipeline.device,
        fallback=pipeline.fallback,
    )


def _check_languages(uri: str, pipeline: InferencePipeline, languages: Sequence[str]) -> None:
    """Refuse a language in which the detector would call no row; all of them would be foreign."""
    # Versions built before have gcld3, under no public name.
    codes = getattr(pipeline, "detector", DETECTORS["gcld3"]).codes
    if unknown := sorted({code for code in languages if canonical(code) not in codes}):
        raise ParameterError(
            f"languages: {unknown}; expected codes that the detector of {uri} reports, of: "
            f"{' '.join(sorted(codes))}"
        )
