"""What a build logged about its pipeline: read without the packages that build one."""

import json
import logging
from collections.abc import Iterator

from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from pydantic import ValidationError

from tasks.building.types import LoggedMember, LoggedPipeline
from tasks.common.errors import ModelError
from tasks.tracking.logged_models import is_usable
from tasks.tracking.mlflow_client import connect, ensure_experiment, read_logged_json
from tasks.tracking.names import BUILDING_EXPERIMENT, PIPELINE_MODEL, version_uri
from tasks.tracking.registry import find_registered_version

logger = logging.getLogger(__name__)

# MLflow cuts the tags of a run at 8,000 characters, so that the record is a file.
RECORD = "pipeline.json"

# What a build was to make.
PLAN = "plan.json"

COMPLETE_TAG = "pipeline"

# Of a build: the gate keys of its members, to be searched for.
GATE_KEYS_TAG = "gate_keys"


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


def find_members_gated_alike(gate_key: str) -> Iterator[tuple[str, LoggedMember]]:
    """Yield the members of registered pipeline versions with this gate key, the oldest first.

    A version is registered once it passed its check in a new process.

    Yields:
        The URI of the version, and the member.
    """
    runs = connect().search_runs(
        [ensure_experiment(BUILDING_EXPERIMENT)],
        filter_string=f"tags.{GATE_KEYS_TAG} LIKE '%{gate_key}%' and tags.{COMPLETE_TAG} LIKE '%'",
        order_by=["attributes.start_time ASC"],
    )
    for run in runs:
        record = read_record(run)
        if record is None or not is_usable(record.model_uri):
            continue
        version = find_registered_version(PIPELINE_MODEL, record.model_uri)
        if version is None:
            continue
        alike = (member for member in record.members.values() if member.gate_key == gate_key)
        if (member := next(alike, None)) is not None:
            yield version_uri(version.name, version.version), member


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
