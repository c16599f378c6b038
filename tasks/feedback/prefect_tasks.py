"""Prefect tasks that take feedback into the store, and choose what of it counts."""

from pathlib import Path

from prefect import task

from tasks.common.task_errors import RETRY_MLFLOW, RETRY_ONCE, redacted_errors
from tasks.feedback.types import (
    ChosenFeedback,
    CollectedFeedback,
    FeedbackChoices,
    FeedbackRequest,
    Need,
)
from tasks.tracking.names import RegisteredModel


@task(name="collect feedback", **RETRY_MLFLOW)
def collect_feedback(request: FeedbackRequest, model_uri: str) -> CollectedFeedback:
    """Take new feedback into the store, each label with the answer that was given before it."""
    from tasks.feedback.collecting import collect
    from tasks.feedback.model_answers import load_answering_model

    with redacted_errors("feedback"):
        return collect(request, load_answering_model(model_uri))


@task(name="choose feedback", **RETRY_ONCE)
def choose_feedback(
    choices: FeedbackChoices, members: dict[str, RegisteredModel], folder: Path
) -> ChosenFeedback:
    """Write the labels that count: what each member learns, and what is held out."""
    from tasks.feedback.chosen import write_chosen

    with redacted_errors("feedback"):
        return write_chosen(choices, members, folder)


@task(name="assess need", **RETRY_MLFLOW)
def assess_need(
    pipeline: RegisteredModel, choices: FeedbackChoices, scored: str, least_labels: int
) -> Need:
    """Return whether a version has something to learn, and why or why not."""
    from tasks.feedback import triggers

    with redacted_errors("feedback"):
        return triggers.assess_need(pipeline, choices, scored, least_labels)
