"""What a build logged about its pipeline: read without the packages that build one."""

import json
import logging

from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from pydantic import ValidationError

from tasks.building.types import LoggedPipeline
from tasks.common.errors import ModelError
from tasks.tracking.mlflow_client import connect, read_logged_json

logger = logging.getLogger(__name__)

# MLflow cuts the tags of a run at 8,000 characters, so that the record is a file.
RECORD = "pipeline.json"
COMPLETE_TAG = "pipeline"


def read_labels_of(version: ModelVersion) -> list[str]:
    """Return the labels of a registered pipeline version, from its run; older ones had a tag.

    Raises:
        ModelError: If the run has no record any more.
    """
    if "labels" in version.tags:
        labels: list[str] = json.loads(version.tags["labels"])
        return labels
    return list(read_record_of(version).labels)


def read_member_labels(version: ModelVersion) -> dict[str, tuple[str, ...]]:
    """Return the labels of each member of a registered pipeline version, by its name.

    Returns:
        Nothing if the run has no record any more.
    """
    record = read_record(connect().get_run(str(version.run_id)))
    return {} if record is None else {name: found.labels for name, found in record.members.items()}


def read_record_of(version: ModelVersion) -> LoggedPipeline:
    """Return what its build logged about a registered pipeline version.

    Raises:
        ModelError: If the run has no record any more.
    """
    record = read_record(connect().get_run(str(version.run_id)))
    if record is None:
        raise ModelError(
            f"models:/{version.name}/{version.version}: its run {version.run_id} has no {RECORD}; "
            "expected the one that its build logged"
        )
    return record


def read_record(run: Run) -> LoggedPipeline | None:
    """Return what a build logged about its pipeline, or None if that is missing or damaged."""
    tag = run.data.tags.get(COMPLETE_TAG, "")
    try:
        if tag.startswith("{"):  # older builds have the record itself there
            return LoggedPipeline.model_validate_json(tag)
        return LoggedPipeline.model_validate(read_logged_json(run.info.run_id, RECORD))
    except ValidationError:
        logger.warning(
            "build run %s: its record of the pipeline is missing or cut", run.info.run_id
        )
        return None
