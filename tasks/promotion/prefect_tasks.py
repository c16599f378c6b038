"""Prefect tasks that promote versions of the inference pipeline."""

from prefect import task

from tasks.common.task_errors import RETRY_MLFLOW, RETRY_ONCE, step
from tasks.comparison.types import ComparisonReport
from tasks.promotion.types import Bounds, PromotionDecision, Rule
from tasks.tracking.names import PIPELINE_MODEL, RegisteredModel


@task(name="choose champion", **RETRY_ONCE)
def choose_champion(registered: RegisteredModel, rule: Rule) -> PromotionDecision:
    """Compare a new version with the champion as the rule has it, and give it its alias."""
    from tasks.promotion.rules import decide_promotion

    return decide_promotion(registered, rule)


@task(name="complete promotion", **RETRY_MLFLOW)
def complete_earlier_promotion() -> None:
    """Do what an interrupted promotion of the present champion left, if anything."""
    from tasks.promotion.aliases import complete_promotion

    complete_promotion(PIPELINE_MODEL)


@task(name="choose champion on traffic", **RETRY_MLFLOW)
def choose_champion_on_traffic(
    report: ComparisonReport, rule: Rule, bounds: Bounds
) -> PromotionDecision:
    """Make the challenger of a comparison champion if its labelled rows show it."""
    from tasks.promotion.on_traffic import decide_on_traffic

    return decide_on_traffic(report, rule, bounds)


@step(name="promote pipeline", **RETRY_MLFLOW)
def promote_version(reference: str, reason: str) -> RegisteredModel:
    """Make a version champion; the reference `previous` restores the champion before."""
    from tasks.promotion.aliases import promote_by_hand

    return promote_by_hand(reference, reason)
