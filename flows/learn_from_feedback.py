"""Learn from corrected labels: a new version of what decided, which has to prove itself."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from prefect import flow

from flows.parameters import described, form, record_from
from tasks.building import types as building
from tasks.building.prefect_tasks import (
    check_pipeline,
    log_pipeline,
    plan_learnt_pipeline,
    register_pipeline,
)
from tasks.common.console import print_table
from tasks.common.parameter_types import about
from tasks.common.task_errors import reporting_failures
from tasks.feedback import types as giving
from tasks.feedback.prefect_tasks import assess_need, choose_feedback, collect_feedback
from tasks.learning.prefect_tasks import find_learners, register_learnt, relearn_head
from tasks.learning.types import Feedback, Learners
from tasks.promotion.prefect_tasks import choose_learnt_champion, complete_earlier_promotion
from tasks.promotion.types import LearntPromotion
from tasks.tracking.names import RegisteredModel

WhenNeeded = Annotated[
    bool,
    about(
        "Whether it learns only if there are labels enough, and answers are worse or scores other "
        "than those of the training; the reason is in one line."
    ),
]

CHOICES = giving.FeedbackChoices()


@reporting_failures
@form("feedback", "scored", "promotion", "when_needed", "least_labels")
@flow(name="learn-from-feedback")
@described
def learn_from_feedback(
    feedback: giving.FeedbackFiles = (),
    scored: giving.ScoredFolder = "",
    feedback_table: giving.FeedbackTable = "",
    conflicts: giving.Conflicts = CHOICES.conflicts,
    max_share_by: giving.MaxShareBy = CHOICES.max_share_by,
    when_needed: WhenNeeded = False,
    least_labels: giving.LeastLabels = 200,
    promotion: LearntPromotion = "if_better",
) -> dict[str, Any]:
    """Take in feedback, and learn the champion's heads again from all of it.

    Returns:
        The report: what was taken in, what was learnt, the version, its alias and why it has it.
    """
    given = locals()
    request = record_from(giving.FeedbackRequest, given)
    choices = record_from(giving.FeedbackChoices, given)
    complete_earlier_promotion()
    learners = find_learners()
    # First: a version that cannot be built again is to be told before anything is learnt.
    plan_learnt_pipeline(learners.pipeline, {})
    collected = collect_feedback(request, learners.pipeline.uri)
    with TemporaryDirectory(prefix="millstream-") as folder:
        chosen = choose_feedback(choices, tuple(learners.members), Path(folder))
        report = collected.summary() | chosen.summary()
        reason = _why_not(learners, chosen)
        if when_needed and not reason:
            need = assess_need(learners.pipeline, choices, scored, least_labels)
            reason = "" if need.learn else need.reason
            report["need"] = need.reason
        if reason:
            report |= {"learnt": False, "reason": reason}
        else:
            report |= {"learnt": True, **_learn(learners, chosen, promotion)}
    print_table("Learnt from feedback", report)
    return report


def _why_not(learners: Learners, chosen: giving.ChosenFeedback) -> str:
    """Return why there is nothing to learn; empty if there is."""
    if not chosen.members:
        return "no label is to be learnt"
    if all(learners.learnt.get(name) == member.digest for name, member in chosen.members.items()):
        return f"{learners.pipeline.uri}, the champion, has learnt all labels"
    return ""


def _learn(
    learners: Learners, chosen: giving.ChosenFeedback, promotion: LearntPromotion
) -> dict[str, Any]:
    """Learn each member's head, build the pipeline with them, and decide what becomes of it."""
    learnt: dict[str, RegisteredModel] = {}
    for name, labels in chosen.members.items():
        parent, feedback = learners.members[name], Feedback(rows=labels.rows, digest=labels.digest)
        learnt[name] = register_learnt(relearn_head(parent, feedback), parent, feedback)
    logged = log_pipeline(plan_learnt_pipeline(learners.pipeline, learnt))
    check_pipeline(logged)
    registered = register_pipeline(logged)
    decision = choose_learnt_champion(registered, promotion, chosen.held_out_rows)
    return {
        "finetuned_models": {name: version.uri for name, version in learnt.items()},
        "inference_pipeline_model": registered.uri,
        "alias": decision.alias,
        "reason": decision.reason,
        "not_used": logged.unused(building.reasons_by_variants),
        "answers_now": decision.describe_answering(registered),
    }


if __name__ == "__main__":
    from flows.command_line import run

    run(learn_from_feedback, request=giving.FeedbackRequest)
