"""Which fine-tuned version another one descends from, by learning from feedback."""

from tasks.common.errors import ModelError
from tasks.tracking import registry
from tasks.tracking.names import PARENT_TAG, RegisteredModel
from tasks.tracking.pipeline_members import origins_of


def root_of(finetuned_uri: str) -> str:
    """Return the version of `dl_finetuned_model` that one descends from; itself without a parent.

    A version that is gone has no parent that is known.
    """
    version = RegisteredModel.from_uri(finetuned_uri)
    try:
        tags = registry.get_version(version.name, version.version).tags
    except ModelError:
        return finetuned_uri
    return root_of(tags[PARENT_TAG]) if PARENT_TAG in tags else finetuned_uri


def finetuned_uri_of(pipeline_uri: str, member: str) -> str:
    """Return the fine-tuned version that a member of a pipeline version is; empty if it is gone.

    Args:
        pipeline_uri: The pipeline version.
        member: Its member; empty for that of a single model.
    """
    pipeline = RegisteredModel.from_uri(pipeline_uri)
    try:
        origins = origins_of(registry.get_version(pipeline.name, pipeline.version))
    except ModelError:
        return ""
    if len(origins) == 1:
        (origin,) = origins.values()
        return origin.finetuned_model_uri
    return origins[member].finetuned_model_uri if member in origins else ""
