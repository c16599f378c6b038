"""Learn from corrected labels: a new version of what decided, which has to prove itself."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from prefect import flow
from prefect.runtime import flow_run

from flows.parameters import described, form, record_from
from tasks.building import types as building
from tasks.building.prefect_tasks import (
    check_pipeline,
    log_pipeline,
    plan_learnt_pipeline,
    register_pipeline,
)
from tasks.common.console import print_table
from tasks.common.errors import ModelError
from tasks.common.files import waited_lock
from tasks.common.parameter_types import about
from tasks.common.settings import get_settings
from tasks.common.task_errors import describe_error, reporting_failures
from tasks.feedback import types as giving
from tasks.feedback.prefect_tasks import assess_need, choose_feedback, collect_feedback
from tasks.learning.prefect_tasks import (
    find_learners,
    finetune_from_parent,
    register_learnt,
    relearn_head,
)
from tasks.learning.types import Feedback, Learners
from tasks.promotion.prefect_tasks import choose_learnt_champion, complete_earlier_promotion
from tasks.promotion.types import LearntPromotion
from tasks.reports.prefect_tasks import (
    missing_files,
    publish_learning,
    report_or_reason,
    report_training,
)
from tasks.reports.types import LearningRun, LearntVersion
from tasks.tracking.names import CHAMPION, RegisteredModel
from tasks.training.prefect_tasks import evaluate_model
from tasks.training.types import Evaluation, FineTuned

logger = logging.getLogger(__name__)

WhenNeeded = Annotated[
    bool,
    about(
        "Whether it learns only if there are labels enough, and answers are worse or scores other "
        "than those of the training; the reason is in one line."
    ),
]

Escalate = Annotated[
    bool,
    about(
        "Whether all weights are trained on with the feedback, for minutes, if the version with a "
        "new head does not become champion."
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
    escalate: Escalate = False,
) -> dict[str, Any]:
    """Take in feedback, and learn the champion's heads again from all of it.

    Returns:
        The report: what was taken in, what was learnt, the version, its alias and why it has it.
    """
    given, started = locals(), datetime.now(UTC)
    request = record_from(giving.FeedbackRequest, given)
    choices = record_from(giving.FeedbackChoices, given)
    learnt: LearntVersion | None = None
    with _sole_learning(), TemporaryDirectory(prefix="millstream-") as folder:
        complete_earlier_promotion()
        learners = find_learners()
        # First: a version that cannot be built again is to be told before anything is learnt.
        plan_learnt_pipeline(learners.pipeline, {})
        collected = collect_feedback(request, learners.pipeline.uri)
        chosen = choose_feedback(choices, learners.members, Path(folder))
        report = collected.summary() | chosen.summary()
        reason = _why_not(learners, chosen)
        if when_needed and not reason:
            reason = _too_few(learners, chosen, least_labels)
        if when_needed and not reason:
            need = assess_need(learners.pipeline, choices, scored, least_labels)
            reason = "" if need.learn else need.reason
            report["need"] = need.reason
        report |= {"learnt": not reason, "reason": reason}
        if not reason:
            learnt = _learn(learners, chosen, promotion, relearn_head)
            if escalate and promotion == "if_better" and learnt.decision.alias != CHAMPION:
                logger.info("the head is not enough: %s", learnt.decision.reason)
                try:
                    learnt = _learn(learners, chosen, promotion, finetune_from_parent)
                except ModelError as error:  # the version whose head learnt is there
                    logger.warning("the escalation is not made: %s", error)
                    report["escalation"] = f"not made ({error})"
            report |= learnt.summary()
    # From here on a failure costs a report, and no version.
    if learnt:
        report |= _measure(learnt)
    if learnt or collected.taken:
        outcome = LearningRun(
            started=started,
            champion=learners.pipeline,
            choices=choices,
            collected=collected,
            chosen=chosen,
            learnt=learnt,
            reason=report["reason"],
        )
        published = publish_learning(outcome, flow_run.id or "", return_state=True)
        report["report"] = report_or_reason(published)
    print_table("Learnt from feedback", report)
    return report


@contextmanager
def _sole_learning() -> Iterator[None]:
    """Hold the state folder against other learnings: one that waits finds nothing new to learn."""
    folder = get_settings().replay
    folder.mkdir(parents=True, exist_ok=True)
    with waited_lock(folder / ".lock", "the end of another learning"):
        yield


def _why_not(learners: Learners, chosen: giving.ChosenFeedback) -> str:
    """Return why there is nothing to learn; empty if there is."""
    if not chosen.members:
        return "no label is to be learnt"
    if all(learners.learnt.get(name) == member.digest for name, member in chosen.members.items()):
        return f"{learners.pipeline.uri}, the champion, has learnt all labels"
    return ""


def _too_few(learners: Learners, chosen: giving.ChosenFeedback, least_labels: int) -> str:
    """Return why labels are too few since the last learning; empty if there was none."""
    new = chosen.labels - learners.labels
    if not learners.labels or new >= least_labels:
        return ""
    return (
        f"does not learn: {new} more labels count than at the last learning from "
        f"{learners.pipeline.uri}; expected {least_labels} or more"
    )


def _learn(
    learners: Learners,
    chosen: giving.ChosenFeedback,
    promotion: LearntPromotion,
    learn: Callable[[RegisteredModel, Feedback], FineTuned],
) -> LearntVersion:
    """Let each member learn, build the pipeline with them, and decide what becomes of it."""
    trainings, members = {}, {}
    for name, labels in chosen.members.items():
        parent, feedback = learners.members[name], Feedback(rows=labels.rows, digest=labels.digest)
        trainings[name] = learn(parent, feedback)
        members[name] = register_learnt(trainings[name], parent, feedback, chosen.labels)
    logged = log_pipeline(plan_learnt_pipeline(learners.pipeline, members))
    check_pipeline(logged)
    registered = register_pipeline(logged)
    return LearntVersion(
        trainings=trainings,
        members=members,
        pipeline=registered,
        not_used=logged.unused(building.reasons_by_variants),
        decision=choose_learnt_champion(registered, promotion, chosen.held_out_rows),
    )


def _measure(learnt: LearntVersion) -> dict[str, Any]:
    """Measure and report what learnt like any training; return what could not be made, and why."""
    missing: dict[str, str] = {}
    for name, training in learnt.trainings.items():
        measured = evaluate_model(training, return_state=True).result(raise_on_failure=False)
        if not isinstance(measured, Evaluation):
            missing[f"{name}: evaluation"] = f"not made ({describe_error(measured)})"
            continue
        reported = report_training(training, measured.missing, return_state=True)
        found = missing_files(measured.missing, reported).get("not_made_because", {})
        missing |= {f"{name}: {file}": reason for file, reason in found.items()}
    return {"not_made": len(missing), "not_made_because": missing} if missing else {}


if __name__ == "__main__":
    from flows.command_line import run

    run(learn_from_feedback, request=giving.FeedbackRequest)
