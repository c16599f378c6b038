"""Move the aliases champion and challenger, whole even if a call is interrupted and repeated."""

import logging
from datetime import UTC, datetime

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.settings import PREFECT_API_URL

from tasks.common.errors import ModelError, ParameterError
from tasks.promotion.types import PROMOTED, champion_resource
from tasks.tracking import registry
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import (
    CHALLENGER,
    CHAMPION,
    PIPELINE_MODEL,
    PREVIOUS,
    PREVIOUS_TAG,
    PROMOTED_AT_TAG,
    RegisteredModel,
)
from tasks.tracking.pipeline_members import finetuned_inside

logger = logging.getLogger(__name__)

REASON_TAG = "promotion_reason"

# Marks a version whose promotion is incomplete; its value is the champion before it, or empty.
_PENDING_TAG = "promotion_pending"

# On a champion that another one replaced by hand; its value is that one. A build of equal inputs
# finds this version again, and would make it champion again.
REPLACED_TAG = "replaced_by_hand"

# On a champion that an audit took back; its value is the version that came back.
TAKEN_BACK_TAG = "taken_back_for"

_LONGEST_REASON = 1_000  # characters; MLflow servers refuse tags of 5,000 or more


def promote_by_hand(reference: str, reason: str) -> RegisteredModel:
    """Make a version champion, whatever its metrics.

    Args:
        reference: A version, an alias, a URI, or `previous` for the champion before this one.
        reason: Written on the version as a tag.

    Raises:
        ModelError: If the version is a plain pipeline.
        ParameterError: If there is no such version, or `reason` is too long for a tag.
    """
    if len(reason) > _LONGEST_REASON:
        raise ParameterError(
            f"reason: {len(reason)} characters; expected {_LONGEST_REASON} at most"
        )
    if reference == PREVIOUS:
        version = previous_champion(PIPELINE_MODEL)
    else:
        version = registry.find_version(PIPELINE_MODEL, reference)
    if version.tags.get("kind") == "plain":
        raise ModelError(
            f"{PIPELINE_MODEL} version {version.version} is plain; expected a full pipeline"
        )
    replaced = registry.get_aliases(PIPELINE_MODEL).get(CHAMPION)
    set_champion(PIPELINE_MODEL, version, reason)
    if replaced is not None and replaced != int(version.version):
        connect().set_model_version_tag(
            PIPELINE_MODEL, str(replaced), REPLACED_TAG, str(version.version)
        )
    return RegisteredModel(name=PIPELINE_MODEL, version=int(version.version))


def set_champion(name: str, version: ModelVersion, reason: str) -> None:
    """Give `version` the alias champion and record the champion before it.

    Emits an event unless it was champion already. A call that was interrupted can be repeated, and
    does the rest. Only an interruption right after the event emits it twice.
    """
    client = connect()
    number = int(version.version)
    present = registry.get_aliases(name)
    replaced = version.tags.get(_PENDING_TAG)
    if (current := present.get(CHAMPION)) != number:
        replaced = str(current or "")
        client.set_model_version_tag(name, str(number), _PENDING_TAG, replaced)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        client.set_model_version_tag(name, str(number), PROMOTED_AT_TAG, now)
    client.set_model_version_tag(name, str(number), REASON_TAG, reason)
    if REPLACED_TAG in version.tags:
        client.delete_model_version_tag(name, str(number), REPLACED_TAG)
    _set_alias(client, version, CHAMPION)
    logger.info("%s version %s is champion: %s", name, number, reason)
    # Last, so that `previous` and `challenger` resolve to the same versions in a repeated call.
    if replaced is not None:
        announce_champion(name, number, reason)
        if replaced:
            client.set_registered_model_tag(name, PREVIOUS_TAG, replaced)
    if present.get(CHALLENGER) == number:
        client.delete_registered_model_alias(name, CHALLENGER)
    _drop_stale_challenger(client, version)
    if replaced is not None:
        client.delete_model_version_tag(name, str(number), _PENDING_TAG)


def write_reason(name: str, version: ModelVersion, reason: str) -> None:
    """Write on `version` as a tag why it has its alias, or none."""
    connect().set_model_version_tag(name, version.version, REASON_TAG, reason)


def complete_promotion(name: str) -> None:
    """Do what an interrupted promotion of the present champion left, if anything."""
    champion = registry.get_aliases(name).get(CHAMPION)
    if champion is None:
        return
    version = registry.get_version(name, champion)
    if _PENDING_TAG in version.tags:
        set_champion(name, version, version.tags[REASON_TAG])


def set_challenger(name: str, version: ModelVersion, reason: str) -> None:
    """Give `version` the alias challenger and write the reason on it as a tag."""
    write_reason(name, version, reason)
    _set_alias(connect(), version, CHALLENGER)
    logger.info("%s version %s is challenger: %s", name, version.version, reason)


def announce_champion(name: str, version: int, reason: str) -> None:
    """Emit the Prefect event that another version is champion, in a run or if a server is named."""
    if FlowRunContext.get() or PREFECT_API_URL.value():
        emit_event(event=PROMOTED, resource=champion_resource(name, version, reason))


def previous_champion(name: str) -> ModelVersion:
    """Return the version that was champion before the present one.

    Raises:
        ModelError: If it is gone.
        ParameterError: If there was none.
    """
    number = registry.previous_champion_number(name)
    if number is None:
        raise ParameterError(
            f"version: {name}: there is no previous champion; {registry.describe_versions(name)}"
        )
    return registry.get_version(name, number)


def _drop_stale_challenger(client: MlflowClient, champion: ModelVersion) -> None:
    """Take the alias challenger from the fine-tuned version inside, unless a challenger has it too.

    Two pipelines may have one fine-tuned version inside, as in two precisions.
    """
    inside = finetuned_inside(champion)
    if inside is None or registry.get_aliases(inside.name).get(CHALLENGER) != inside.version:
        return
    challenger = registry.get_aliases(champion.name).get(CHALLENGER)
    if challenger is not None:
        other = registry.get_version(champion.name, challenger)
        if finetuned_inside(other) == inside:
            return
    client.delete_registered_model_alias(inside.name, CHALLENGER)


def _set_alias(client: MlflowClient, version: ModelVersion, alias: str) -> None:
    """Move `alias` to the fine-tuned version inside a pipeline version, then to the latter.

    Of several fine-tuned versions inside, none is the champion.
    """
    if (inside := finetuned_inside(version)) is not None:
        client.set_registered_model_alias(inside.name, alias, str(inside.version))
    client.set_registered_model_alias(version.name, alias, version.version)
