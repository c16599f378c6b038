"""Open the pipeline in the artifact of a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from .cache.cache import PredictionCache
from .cache.settings import prediction_cache_folder, prediction_cache_size_limit
from .composition.composition import Composition
from .composition.members import open_members
from .detectors.selection import open_detector
from .fingerprint import fingerprint_pipeline
from .pipeline import InferencePipeline
from .plain_pipeline import PlainPipeline
from .spec import PipelineSpec, business_folder, detector_folder

if TYPE_CHECKING:
    from .business.pipeline import BusinessPipeline

Pipeline = Union[InferencePipeline, PlainPipeline, "BusinessPipeline"]


def open_pipeline(
    folder: Path, *, model_uri: str, model_config: Mapping[str, Any] | None = None
) -> Pipeline:
    """Load the pipeline in `folder`.

    Args:
        folder: The artifact: `pipeline.json`, `members/`, `detector/` if its detector has files,
            `business/` if it has look-ups or rules, and `pyfunc/` (this code).
        model_uri: The MLflow URI of the model that the artifact belongs to.
        model_config: May hold `cache_dir`, `cache_size_limit` (bytes) and `sources` (the address of
            each source of look-ups by its name).

    Raises:
        ArtifactError: If a file is missing or cannot be used.
        SettingError: If the size limit of the cache is out of bounds.
    """
    spec = PipelineSpec.read(folder)
    members, fallbacks = open_members(folder, spec.members)
    if spec.kind == "plain":
        return PlainPipeline(members[str(spec.answer)].classifier)
    composition = Composition(spec.answer, members, model_uri)
    cache = PredictionCache(
        prediction_cache_folder(model_config),
        fingerprint_pipeline(folder, spec, composition.engines),
        size_limit=prediction_cache_size_limit(model_config),
    )
    pipeline = InferencePipeline(
        composition,
        open_detector(spec.detector, detector_folder(folder)),
        cache,
        fallback="; ".join(fallbacks.values()),
    )
    if not business_folder(folder).exists():
        return pipeline
    # Its libraries are installed with models that have look-ups or rules alone.
    from .business.pipeline import open_business_pipeline

    return open_business_pipeline(folder, pipeline, model_config)
