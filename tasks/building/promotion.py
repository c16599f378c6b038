"""Promote a pipeline version to champion, by its accuracy on test rows or by hand."""

import logging
from collections.abc import Sequence

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.settings import PREFECT_API_URL
from tqdm import tqdm

from pyfunc.batching import DEFAULT_BATCH_TOKENS
from tasks.building.build_records import read_labels_of
from tasks.building.types import PROMOTED, PromotionDecision, champion_resource
from tasks.common.errors import ModelError, ParameterError
from tasks.dataset.labels import label_key
from tasks.tracking import registry
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import (
    CHALLENGER,
    CHAMPION,
    PIPELINE_MODEL,
    PREVIOUS,
    PREVIOUS_TAG,
    RegisteredModel,
)
from tasks.tracking.pipeline_loader import load_pipeline, predict_documents
from tasks.tracking.pipeline_members import finetuned_inside, origins_of
from tasks.training.logged_rows import load_joint_test_rows, select_unseen_by_all

logger = logging.getLogger(__name__)

# Marks a version whose promotion is incomplete; its value is the champion before it, or empty.
_PENDING_TAG = "promotion_pending"

# On a champion that another one replaced by hand; its value is that one. A build of equal inputs
# finds this version again, and would make it champion again.
_REPLACED_TAG = "replaced_by_hand"

# Of so many rows, one moves the accuracy by three points; fewer decide nothing.
MIN_COMPARED_ROWS = 30

_LONGEST_REASON = 1_000  # characters; MLflow servers refuse tags of 5,000 or more

_ROWS_PER_PROGRESS_UPDATE = 128


def decide_promotion(registered: RegisteredModel) -> PromotionDecision:
    """Make a new version champion or challenger; write the metrics and the reason on it as tags.

    The first full pipeline becomes champion. A later one does if its accuracy is no lower than the
    champion's, both on its own test rows that neither was trained on. It becomes challenger if its
    accuracy is lower, if there are fewer than `MIN_COMPARED_ROWS` such rows, or if its labels
    differ. A plain pipeline returns bare labels and gets no alias, nor does a champion of before
    that another version replaced by hand.
    """
    candidate = registry.get_version(registered.name, registered.version)
    reason = candidate.tags.get("promotion_reason", "")
    aliases = registry.get_aliases(registered.name)
    if aliases.get(CHAMPION) == registered.version:
        set_champion(registered.name, candidate, reason)  # completes an interrupted promotion
        return PromotionDecision(alias=CHAMPION, reason=reason)
    champion = aliases.get(CHAMPION)
    compared = candidate.tags.get("champion_version") == str(champion)
    if aliases.get(CHALLENGER) == registered.version and compared:
        return PromotionDecision(alias=CHALLENGER, reason=reason)
    if candidate.tags["kind"] == "plain":
        return PromotionDecision(alias=None, reason="a plain pipeline answers with bare labels")
    if by := candidate.tags.get(_REPLACED_TAG):
        reason = f"version {by} replaced it as champion by hand; {_how_to_promote(candidate)}"
        return PromotionDecision(alias=None, reason=reason)
    decision = _compare(candidate, champion)
    # Another version may have been promoted by hand during the minutes of a comparison.
    while (current := registry.get_aliases(registered.name).get(CHAMPION)) != champion:
        champion = current
        decision = _compare(candidate, champion)
    if decision.alias == CHAMPION:
        set_champion(registered.name, candidate, decision.reason)
    else:
        set_challenger(registered.name, candidate, decision.reason)
    return decision


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
            PIPELINE_MODEL, str(replaced), _REPLACED_TAG, str(version.version)
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
    client.set_model_version_tag(name, str(number), "promotion_reason", reason)
    if _REPLACED_TAG in version.tags:
        client.delete_model_version_tag(name, str(number), _REPLACED_TAG)
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


def set_challenger(name: str, version: ModelVersion, reason: str) -> None:
    """Give `version` the alias challenger and write the reason on it as a tag."""
    client = connect()
    client.set_model_version_tag(name, version.version, "promotion_reason", reason)
    _set_alias(client, version, CHALLENGER)
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


def _compare(candidate: ModelVersion, current: int | None) -> PromotionDecision:
    if current is None:
        return PromotionDecision(alias=CHAMPION, reason="the first version")
    champion = registry.get_version(PIPELINE_MODEL, current)
    if difference := _label_difference(read_labels_of(candidate), read_labels_of(champion)):
        reason = f"other labels than champion {current}: {difference}; {_how_to_promote(candidate)}"
        return PromotionDecision(alias=CHALLENGER, reason=reason)
    own, others = origins_of(candidate), origins_of(champion)
    test_rows = load_joint_test_rows(
        origin.training_run_id for origin in own.values() if origin.decides
    )
    rows = select_unseen_by_all(
        test_rows, (origin.training_run_id for origin in (*own.values(), *others.values()))
    )
    if len(rows) < MIN_COMPARED_ROWS:
        reason = (
            f"{len(rows)} of {len(test_rows)} test rows were seen neither by it nor by champion "
            f"{current}; expected {MIN_COMPARED_ROWS} or more to compare them; "
            f"{_how_to_promote(candidate)}"
        )
        return PromotionDecision(alias=CHALLENGER, reason=reason)
    accuracy, accuracy_now = _accuracy(candidate, rows), _accuracy(champion, rows)
    metrics = {"accuracy": accuracy, "champion_accuracy": accuracy_now}
    for name, value in (metrics | {"champion_version": current, "test_rows": len(rows)}).items():
        connect().set_model_version_tag(candidate.name, candidate.version, name, str(value))
    better = accuracy >= accuracy_now
    reason = (
        f"accuracy {accuracy:.4f} {'is no lower than' if better else 'is below'} "
        f"{accuracy_now:.4f} of champion {current}, on {len(rows)} test rows"
    )
    return PromotionDecision(alias=CHAMPION if better else CHALLENGER, reason=reason)


def _accuracy(version: ModelVersion, rows: pd.DataFrame) -> float:
    model = load_pipeline(f"models:/{version.name}/{version.version}")
    correct = 0
    with tqdm(total=len(rows), desc=f"version {version.version}", disable=None) as bar:
        for start in range(0, len(rows), _ROWS_PER_PROGRESS_UPDATE):
            part = rows.iloc[start : start + _ROWS_PER_PROGRESS_UPDATE]
            answers = predict_documents(
                model, part["text"].tolist(), use_cache=False, batch_tokens=DEFAULT_BATCH_TOKENS
            )
            correct += sum(
                answer["response"] is not None  # a refusal is a wrong answer
                and label_key(answer["response"]["prediction_label"]) == label_key(label)
                for answer, label in zip(answers, part["label"], strict=True)
            )
            bar.update(len(part))
    return correct / len(rows)


def _how_to_promote(version: ModelVersion) -> str:
    return f"promote it with python -m flows.promote_pipeline --version {version.version}"


def _label_difference(labels: Sequence[str], before: Sequence[str]) -> str:
    """Return how many labels are gone and new, with an example of each; empty for equal ones.

    Labels are compared by their normal forms, so that 1 of one version is 1.0 of another.
    """
    now, former = ({label_key(label): label for label in part} for part in (labels, before))
    found = (("without", former, now), ("with", now, former))
    counted = [
        f"{word} {len(rest)}, such as {these[min(rest)]!r}"
        for word, these, others in found
        if (rest := these.keys() - others.keys())
    ]
    return " and ".join(counted)


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
