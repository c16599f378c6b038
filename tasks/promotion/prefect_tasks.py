"""Prefect tasks that promote versions of the inference pipeline."""

from pathlib import Path

from prefect import task

from tasks.common.task_errors import RETRY_MLFLOW, RETRY_ONCE, step
from tasks.comparison.types import ComparisonReport
from tasks.promotion.types import AuditDecision, Bounds, PromotionDecision, Rule
from tasks.tracking.names import PIPELINE_MODEL, RegisteredModel


@task(name="choose champion", **RETRY_ONCE)
def choose_champion(registered: RegisteredModel, rule: Rule) -> PromotionDecision:
    """Compare a new version with the champion as the rule has it, and give it its alias."""
    from tasks.promotion.rules import decide_promotion

    return decide_promotion(registered, rule)


@task(name="choose learnt champion", **RETRY_ONCE)
def choose_learnt_champion(
    registered: RegisteredModel, rule: Rule, held_out: Path
) -> PromotionDecision:
    """Compare a version that learnt with the champion, on old rows and on held-out feedback."""
    from functools import partial

    import pandas as pd

    from tasks.promotion.learnt import judge_learnt
    from tasks.promotion.rules import decide_promotion

    judge = partial(judge_learnt, feedback=pd.read_parquet(held_out))
    return decide_promotion(registered, rule, judge)


@task(name="complete promotion", **RETRY_MLFLOW)
def complete_earlier_promotion() -> None:
    """Do what an interrupted promotion of the present champion left, if anything."""
    from tasks.promotion.taking_back import complete_taking_back

    complete_taking_back(PIPELINE_MODEL)


@task(name="choose champion on traffic", **RETRY_MLFLOW)
def choose_champion_on_traffic(
    report: ComparisonReport, rule: Rule, bounds: Bounds
) -> PromotionDecision:
    """Make the challenger of a comparison champion if its labelled rows show it."""
    from tasks.promotion.on_traffic import decide_on_traffic

    return decide_on_traffic(report, rule, bounds)


@task(name="take back champion", **RETRY_MLFLOW)
def take_back_if_worse(report: ComparisonReport, max_flips: float) -> AuditDecision:
    """Make the champion before the present one champion again if their answers say so."""
    from tasks.promotion.taking_back import decide_audit

    return decide_audit(report, max_flips)


@step(name="promote pipeline", **RETRY_MLFLOW)
def promote_version(reference: str, reason: str) -> RegisteredModel:
    """Make a version champion; the reference `previous` restores the champion before."""
    from tasks.promotion.aliases import promote_by_hand

    return promote_by_hand(reference, reason)
