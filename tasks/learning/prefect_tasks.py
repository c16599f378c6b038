"""Prefect tasks that learn from feedback."""

from prefect import task

from tasks.common.task_errors import RETRY_LONG_WORK, RETRY_MLFLOW
from tasks.learning.types import Feedback, Learners
from tasks.tracking.names import RegisteredModel
from tasks.training.types import FineTuned


@task(name="find learners", **RETRY_MLFLOW)
def find_learners() -> Learners:
    """Return the champion, and the fine-tuned versions inside it."""
    from tasks.learning.learners import find_learners_of_champion

    return find_learners_of_champion()


@task(name="relearn head", **RETRY_LONG_WORK)
def relearn_head(parent: RegisteredModel, feedback: Feedback) -> FineTuned:
    """Fit the head of a fine-tuned version to its rows and feedback, or return an equal model.

    A retry computes no feature again that is kept.
    """
    from tasks.learning.relearning import relearn_or_reuse

    return relearn_or_reuse(parent, feedback)


@task(name="register learnt model", **RETRY_MLFLOW)
def register_learnt(
    fine_tuned: FineTuned, parent: RegisteredModel, feedback: Feedback, labels: int
) -> RegisteredModel:
    """Register what learnt from feedback as a version of `dl_finetuned_model`, once."""
    from tasks.learning import learners
    from tasks.tracking.descriptions import describe_finetuned

    found = learners.register_learnt(fine_tuned, parent, feedback.digest, labels)
    describe_finetuned(fine_tuned.model_uri, fine_tuned.run_id)
    return found


@task(name="fine-tune from parent", **RETRY_LONG_WORK)
def finetune_from_parent(parent: RegisteredModel, feedback: Feedback) -> FineTuned:
    """Train all weights of a fine-tuned version on with feedback, or return an equal model.

    A retry goes on from the last checkpoint.
    """
    from tasks.learning.escalation import train_on_or_reuse

    return train_on_or_reuse(parent, feedback)
