"""Find the version that a shadow means, and the shards whose sample it has not answered yet."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tasks.output.records import ShardRecord
from tasks.output.rescoring import rescore_reason
from tasks.scoring.scoring_model import resolve_scoring_model
from tasks.scoring.types import ScoringParameters
from tasks.shadow.types import ShadowPlan
from tasks.tracking import registry
from tasks.tracking.names import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    PROMOTED_AT_TAG,
    RegisteredModel,
    version_uri,
)

logger = logging.getLogger(__name__)


def plan_shadow(reference: str, parameters: ScoringParameters, *, audit_days: int) -> ShadowPlan:
    """Return the version that answers a sample of the rows, or why none does.

    Args:
        reference: A number, an alias, a URI, or `previous`, which answers for `audit_days` after
            the promotion of the version that the run scores with.
        parameters: Those of the run.
        audit_days: See `reference`.

    Raises:
        ModelError: If the version cannot be used.
        ParameterError: If there is no such version; a missing challenger is a reason.
    """
    scored_with = RegisteredModel.from_uri(parameters.model.uri)
    if reason := _absence(reference, scored_with, timedelta(days=audit_days)):
        return ShadowPlan(model=None, reason=reason)
    if reference == PREVIOUS:
        number = registry.previous_champion_number(scored_with.name)
        assert number is not None  # noqa: S101 -- it is no absence
        reference = version_uri(scored_with.name, number)
    model = resolve_scoring_model(reference, parameters.rows, parameter="shadow")
    found = RegisteredModel.from_uri(model.uri)
    if found == scored_with:
        return ShadowPlan(model=None, reason=f"{model.uri} answers all rows already")
    if found.name != scored_with.name:
        reason = f"{model.uri} is of another model than {parameters.model.uri}"
        return ShadowPlan(model=None, reason=reason)
    if (model.fingerprint, model.rules_digest) == (
        parameters.model.fingerprint,
        parameters.model.rules_digest,
    ):
        reason = f"{model.uri} answers as {parameters.model.uri} does"
        return ShadowPlan(model=None, reason=reason)
    return ShadowPlan(model=model)


def shadow_parameters(
    plan: ShadowPlan, parameters: ScoringParameters, folder: Path, fraction: float
) -> ScoringParameters:
    """Return how the version of a plan answers a sample of what a run published.

    Args:
        plan: With the version.
        parameters: Those of the run.
        folder: What gets its answers.
        fraction: The share of the texts.
    """
    assert plan.model is not None  # noqa: S101 -- without one, nothing is answered
    rows = parameters.rows.model_copy(
        update={"review_below": 0.0, "all_scores": False, "sample": fraction}
    )
    return ScoringParameters(
        model=plan.model,
        output_dir=folder,
        rows=rows.with_business(plan.model.business),
        use_cache=parameters.use_cache,
        batch_tokens=parameters.batch_tokens,
        workers=parameters.workers,
        flow_run_id=parameters.flow_run_id,
    )


def unanswered(
    records: Sequence[ShardRecord], parameters: ScoringParameters
) -> tuple[list[ShardRecord], list[ShardRecord]]:
    """Return the records of the shards whose sample is to be answered, and of those answered.

    Args:
        records: Those of the run.
        parameters: What `shadow_parameters` returned.
    """
    todo, done = [], []
    for record in records:
        why, found = rescore_reason(
            parameters.output_dir,
            record.shard,
            parameters.model.fingerprint,
            parameters.rows,
            parameters.model.rules_digest,
        )
        if why or found is None:
            todo.append(record)
        else:
            done.append(found)
    return todo, done


def _absence(reference: str, scored_with: RegisteredModel, audited: timedelta) -> str:
    """Return why an alias means no version now; empty if it does."""
    aliases = registry.get_aliases(scored_with.name)
    if reference == CHALLENGER and CHALLENGER not in aliases:
        return "no version is challenger"
    if reference != PREVIOUS:
        return ""
    if aliases.get(CHAMPION) != scored_with.version:
        return f"{scored_with.uri} is not champion, so that no version was champion before it"
    if registry.previous_champion_number(scored_with.name) is None:
        return "no version was champion before"
    tags = registry.get_version(scored_with.name, scored_with.version).tags
    if PROMOTED_AT_TAG not in tags:
        return f"{scored_with.uri} does not say when it was promoted"
    promoted = datetime.fromisoformat(tags[PROMOTED_AT_TAG])
    if datetime.now(UTC) - promoted > audited:
        return f"{scored_with.uri} was promoted more than {audited.days} days ago"
    return ""
