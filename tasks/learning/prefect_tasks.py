"""Prefect tasks that learn from feedback."""

from prefect import task

from tasks.common.task_errors import RETRY_LONG_WORK
from tasks.learning.types import Feedback
from tasks.tracking.names import RegisteredModel
from tasks.training.types import FineTuned


@task(name="relearn head", **RETRY_LONG_WORK)
def relearn_head(parent: RegisteredModel, feedback: Feedback) -> FineTuned:
    """Fit the head of a fine-tuned version to its rows and feedback, or return an equal model.

    A retry computes no feature again that is kept.
    """
    from tasks.learning.relearning import relearn_or_reuse

    return relearn_or_reuse(parent, feedback)


@task(name="fine-tune from parent", **RETRY_LONG_WORK)
def finetune_from_parent(parent: RegisteredModel, feedback: Feedback) -> FineTuned:
    """Train all weights of a fine-tuned version on with feedback, or return an equal model.

    A retry goes on from the last checkpoint.
    """
    from tasks.learning.escalation import train_on_or_reuse

    return train_on_or_reuse(parent, feedback)
