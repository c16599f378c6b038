"""The Prefect task that takes feedback into the store."""

from prefect import task

from tasks.common.task_errors import RETRY_MLFLOW, redacted_errors
from tasks.feedback.types import CollectedFeedback, FeedbackRequest


@task(name="collect feedback", **RETRY_MLFLOW)
def collect_feedback(request: FeedbackRequest, model_uri: str) -> CollectedFeedback:
    """Take new feedback into the store, each label with the answer that was given before it."""
    from tasks.feedback.collecting import collect
    from tasks.feedback.model_answers import load_answering_model

    with redacted_errors("feedback"):
        return collect(request, load_answering_model(model_uri))
