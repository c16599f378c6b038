"""Whether the champion has something to learn: from the labels of its answers, and its scores."""

from pathlib import Path

from mlflow.entities.model_registry import ModelVersion

from tasks.common.settings import get_settings
from tasks.feedback.choosing import load_feedback
from tasks.feedback.prequential import count_right, select_tests
from tasks.feedback.triggers import accuracy_drop, score_bins, should_learn
from tasks.feedback.types import FeedbackChoices, Need
from tasks.measures.stability import Stability, population_stability
from tasks.output.records import read_records
from tasks.tracking import registry
from tasks.tracking.mlflow_client import connect, read_logged_json
from tasks.tracking.names import RegisteredModel
from tasks.tracking.pipeline_members import origins_of
from tasks.training.types import DISTRIBUTION_FILE, Distribution


def assess_need(
    pipeline: RegisteredModel, choices: FeedbackChoices, scored: str, least_labels: int
) -> Need:
    """Return whether a version has something to learn, and why or why not.

    The labels of its own answers count: those since it became champion. Those of texts that it had
    learnt say nothing about its accuracy.

    Args:
        pipeline: The version.
        choices: Which labels of the store count.
        scored: Output folder with the scores of its answers; empty leaves the scores out.
        least_labels: Labels from which on there is something to learn.

    Raises:
        DataError: If a batch of the store is damaged.
    """
    rows = load_feedback(get_settings().feedback_store, choices).rows
    rows = rows[rows["model_uri"] == pipeline.uri]
    version = registry.get_version(pipeline.name, pipeline.version)
    tests = select_tests(rows).rows
    drop = accuracy_drop(count_right(tests), len(tests), _expected_accuracy(version))
    stability = _stability(version, pipeline.uri, Path(scored)) if scored else None
    verdict = should_learn(len(rows), drop, stability, least_labels)
    return Need(learn=verdict.learn, reason=verdict.reason)


def _expected_accuracy(version: ModelVersion) -> float | None:
    """Return the accuracy on test rows that the build or the training found; None of neither."""
    if "accuracy" in version.tags:
        return float(version.tags["accuracy"])
    found = [
        connect().get_run(origin.training_run_id).data.metrics.get("test_accuracy")
        for origin in origins_of(version).values()
    ]
    return found[0] if len(found) == 1 else None


def _stability(version: ModelVersion, model_uri: str, scored: Path) -> Stability | None:
    """Return how far the scores are from those of the training; None of several members."""
    origins = list(origins_of(version).values())
    logged = read_logged_json(origins[0].training_run_id, DISTRIBUTION_FILE)
    if len(origins) > 1 or logged is None:
        return None
    reference = Distribution.model_validate(logged).scores
    return population_stability(score_bins(read_records(scored), model_uri), reference)
