"""The fine-tuned versions inside a registered pipeline version."""

import json

from mlflow.entities.model_registry import ModelVersion

from pyfunc.composition.tree import Node
from pyfunc.composition.tree_json import parse_tree
from tasks.common.parameter_types import FrozenModel
from tasks.tracking.names import ANSWER_TAG, MEMBERS_TAG, SINGLE_MEMBER, RegisteredModel


class Origin(FrozenModel):
    """Where a member of a pipeline comes from.

    Attributes:
        finetuned_model_uri: Its registered version.
        training_run_id: The MLflow run that trained that version.
        decides: Whether it may decide an answer, and not only a route.
    """

    finetuned_model_uri: str
    training_run_id: str
    decides: bool = True


def origins_of(pipeline: ModelVersion) -> dict[str, Origin]:
    """Return where each member of a registered pipeline version comes from, by its name."""
    if MEMBERS_TAG in pipeline.tags:
        members = json.loads(pipeline.tags[MEMBERS_TAG])
        return {name: Origin.model_validate(found) for name, found in members.items()}
    uri, run_id = pipeline.tags["finetuned_model_uri"], pipeline.tags["training_run_id"]
    return {SINGLE_MEMBER: Origin(finetuned_model_uri=uri, training_run_id=run_id)}


def tree_of(pipeline: ModelVersion) -> Node:
    """Return who answers in a registered pipeline version: the name of its member, or a tree.

    Raises:
        TreeError: If the tag has none.
    """
    if MEMBERS_TAG in pipeline.tags:
        return parse_tree(json.loads(pipeline.tags[ANSWER_TAG]))
    return SINGLE_MEMBER


def finetuned_inside(pipeline: ModelVersion) -> RegisteredModel | None:
    """Return the fine-tuned version inside a registered pipeline version, or None of several."""
    if MEMBERS_TAG in pipeline.tags:
        return None
    return RegisteredModel.from_uri(pipeline.tags["finetuned_model_uri"])


def rebuild_command(pipeline: ModelVersion) -> str:
    """Return the command that builds a pipeline version anew, with the code of today.

    It promotes the version, which is as good as the one before and no better.
    """
    inside = finetuned_inside(pipeline)
    how = f"--finetuned-model {inside.uri}" if inside else "--composition with its file"
    return f"python -m flows.build_inference_pipeline {how} --promotion always"
