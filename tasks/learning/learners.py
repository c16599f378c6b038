"""The versions inside the champion that learn, and what became of earlier learnings."""

from tasks.common.errors import ParameterError
from tasks.learning.types import Learners
from tasks.tracking import registry
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import (
    CHAMPION,
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
    return Learners(
        pipeline=pipeline,
        members=members,
        learnt={name: found[FEEDBACK_TAG] for name, found in tags.items() if FEEDBACK_TAG in found},
        tried={name: _learnt_by_children(member) for name, member in members.items()},
    )


def _learnt_by_children(parent: RegisteredModel) -> frozenset[str]:
    found = connect().search_model_versions(
        f"name = '{parent.name}' and tags.{PARENT_TAG} = '{parent.uri}'"
    )
    return frozenset(version.tags[FEEDBACK_TAG] for version in found)


def register_learnt(
    fine_tuned: FineTuned, parent: RegisteredModel, feedback_digest: str
) -> RegisteredModel:
    """Register what learnt from feedback as a version of `dl_finetuned_model`, once."""
    return registry.register_version(
        FINETUNED_MODEL,
        fine_tuned.model_uri,
        run_id=fine_tuned.run_id,
        tags={PARENT_TAG: parent.uri, FEEDBACK_TAG: feedback_digest},
    )
