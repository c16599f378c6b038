"""The versions inside the champion that learn, and what became of earlier learnings."""

from collections.abc import Iterable

from mlflow.entities.model_registry import ModelVersion

from tasks.common.errors import ParameterError
from tasks.learning.types import Learners
from tasks.tracking import registry
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import (
    CHAMPION,
    FEEDBACK_LABELS_TAG,
    FEEDBACK_TAG,
    FINETUNED_MODEL,
    PARENT_TAG,
    PIPELINE_MODEL,
    RegisteredModel,
)
from tasks.tracking.pipeline_members import origins_of
from tasks.training.types import FineTuned


def find_learners_of_champion() -> Learners:
    """Return the champion, and the fine-tuned versions inside it.

    Raises:
        ParameterError: If there is no champion.
    """
    number = registry.get_aliases(PIPELINE_MODEL).get(CHAMPION)
    if number is None:
        raise ParameterError(
            f"{PIPELINE_MODEL}: no champion, whose answers feedback corrects; expected one, as "
            "flows.build_inference_pipeline makes it"
        )
    pipeline = RegisteredModel(name=PIPELINE_MODEL, version=number)
    origins = origins_of(registry.get_version(PIPELINE_MODEL, number))
    members = {
        name: RegisteredModel.from_uri(origin.finetuned_model_uri)
        for name, origin in origins.items()
        if origin.decides
    }
    tags = {
        name: registry.get_version(member.name, member.version).tags
        for name, member in members.items()
    }
    children = (version.tags for member in members.values() for version in _children_of(member))
    counts = (found.get(FEEDBACK_LABELS_TAG, 0) for found in (*tags.values(), *children))
    return Learners(
        pipeline=pipeline,
        members=members,
        learnt={name: found[FEEDBACK_TAG] for name, found in tags.items() if FEEDBACK_TAG in found},
        labels=max(map(int, counts), default=0),
    )


def _children_of(parent: RegisteredModel) -> Iterable[ModelVersion]:
    condition = f"name = '{parent.name}' and tags.{PARENT_TAG} = '{parent.uri}'"
    found: Iterable[ModelVersion] = connect().search_model_versions(condition)
    return found


def register_learnt(
    fine_tuned: FineTuned, parent: RegisteredModel, feedback_digest: str, labels: int
) -> RegisteredModel:
    """Register what learnt from feedback as a version of `dl_finetuned_model`, once.

    Args:
        fine_tuned: Its training.
        parent: The version that it descends from.
        feedback_digest: Of what it learnt.
        labels: How many labels counted then, held-out ones included.
    """
    return registry.register_version(
        FINETUNED_MODEL,
        fine_tuned.model_uri,
        run_id=fine_tuned.run_id,
        tags={
            PARENT_TAG: parent.uri,
            FEEDBACK_TAG: feedback_digest,
            FEEDBACK_LABELS_TAG: str(labels),
        },
    )
