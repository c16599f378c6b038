"""Take a champion back: make the version before it champion again, once, and say so."""

import logging

from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.settings import PREFECT_API_URL

from tasks.comparison.types import ComparisonReport
from tasks.measures.paired import LEVEL, repeated_p_value
from tasks.promotion.aliases import (
    REASON_TAG,
    REPLACED_TAG,
    TAKEN_BACK_TAG,
    complete_promotion,
    set_champion,
)
from tasks.promotion.rules import MIN_COMPARED_ROWS
from tasks.promotion.types import (
    AUDITED_FLIPS,
    TAKEN_BACK,
    AuditDecision,
    champion_resource,
)
from tasks.tracking import registry
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import CHAMPION, RegisteredModel
from tasks.tracking.registry import previous_champion_number

logger = logging.getLogger(__name__)

# As `TAKEN_BACK_TAG`, until the event is out.
_PENDING_TAG = "taking_back_for"


def decide_audit(report: ComparisonReport, max_flips: float) -> AuditDecision:
    """Make the champion before the present one champion again if their answers say so.

    It comes back if it is shown to be better on rows with labels that neither was trained or
    validated on, by a test that may be repeated (see `repeated_p_value`), or if more rows than
    `max_flips` have another label. Fewer than `MIN_COMPARED_ROWS` rows show neither. A version that
    was taken back itself does not come back, so that two versions do not take turns.

    Args:
        report: The comparison of the champion with the one before it.
        max_flips: The largest share of rows with two labels; 1 leaves it to the labels.
    """
    found = report.comparison
    present, former = map(RegisteredModel.from_uri, (found.present, found.other))
    if registry.get_aliases(present.name).get(CHAMPION) != present.version:
        reason = f"version {present.version} is not champion any more"
        return AuditDecision(taken_back=False, reason=reason)
    if TAKEN_BACK_TAG in registry.get_version(former.name, former.version).tags:
        reason = f"version {former.version} was taken back before"
        return AuditDecision(taken_back=False, reason=reason)
    worse, figures = _verdict(report, max_flips)
    reason = f"beside version {former.version}, champion before: {figures}"
    if not worse:
        return AuditDecision(taken_back=False, reason=reason)
    take_back(present, former, f"version {present.version} was taken back; {reason}")
    return AuditDecision(taken_back=True, reason=reason)


def take_back(champion: RegisteredModel, former: RegisteredModel, reason: str) -> None:
    """Make a former version champion in place of the present one, and emit the event.

    A call that was interrupted is completed by `complete_taking_back`.
    """
    client, name = connect(), champion.name
    # A build of equal inputs does not make it champion again, as if it had been replaced by hand.
    for tag in (_PENDING_TAG, TAKEN_BACK_TAG, REPLACED_TAG):
        client.set_model_version_tag(name, str(champion.version), tag, str(former.version))
    set_champion(name, registry.get_version(name, former.version), reason)
    _complete(champion, former.version, reason)


def complete_taking_back(name: str) -> None:
    """Do what an interrupted promotion left, or the taking back of the champion before, if any."""
    complete_promotion(name)
    champion, former = registry.get_aliases(name).get(CHAMPION), previous_champion_number(name)
    if champion is None or former is None:
        return
    tags = registry.get_version(name, former).tags
    if tags.get(_PENDING_TAG) == str(champion):
        reason = registry.get_version(name, champion).tags[REASON_TAG]
        _complete(RegisteredModel(name=name, version=former), champion, reason)


def _complete(taken_back: RegisteredModel, champion: int, reason: str) -> None:
    name, number = taken_back.name, taken_back.version
    logger.warning("%s version %s is champion again: %s", name, champion, reason)
    _announce(name, champion, reason)
    connect().delete_model_version_tag(name, str(number), _PENDING_TAG)


def _announce(name: str, champion: int, reason: str) -> None:
    """Emit the event of which an automation notifies people, in a run or if a server is named."""
    if FlowRunContext.get() or PREFECT_API_URL.value():
        emit_event(event=TAKEN_BACK, resource=champion_resource(name, champion, reason))


def _verdict(report: ComparisonReport, max_flips: float) -> tuple[bool, str]:
    found = report.comparison
    labels, flips = found.labels, found.flip_share
    worse, figures = False, []
    if found.unknown_trainings:
        figures.append("a training of before logged not all texts that it used")
    elif labels is None or labels.rows < MIN_COMPARED_ROWS:
        rows = labels.rows if labels else 0
        figures.append(f"{rows} rows have a label; expected {MIN_COMPARED_ROWS} or more")
    else:
        p_value = repeated_p_value(labels)
        worse = p_value < LEVEL
        figures.append(
            f"accuracy {labels.accuracy_of_present:.4f}, and {labels.accuracy_of_other:.4f} of the "
            f"one before, on {labels.rows} rows, p = {p_value:.3g}; it is worse below {LEVEL}"
        )
    if max_flips < AUDITED_FLIPS:
        if flips is None or found.scored < MIN_COMPARED_ROWS:
            figures.append(f"{found.scored} rows; expected {MIN_COMPARED_ROWS} for max_flips")
        else:
            worse = worse or flips > max_flips
            figures.append(f"max_flips: {flips:.4g}; expected {max_flips:g} at most")
    return worse, "; ".join(figures)
