"""When to learn: with labels enough, and worse answers or other scores than before."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mlflow.entities.model_registry import ModelVersion

from tasks.common.counting import SCORE_BINS
from tasks.common.settings import get_settings
from tasks.feedback.choosing import load_feedback
from tasks.feedback.prequential import count_right, select_tests
from tasks.feedback.types import FeedbackChoices, Need
from tasks.measures.paired import LEVEL
from tasks.measures.stability import SHIFT, Stability, population_stability
from tasks.output.records import ArmRecord, ShardRecord, read_records
from tasks.tracking import registry
from tasks.tracking.mlflow_client import connect, read_logged_json
from tasks.tracking.names import RegisteredModel
from tasks.tracking.pipeline_members import origins_of
from tasks.training.types import DISTRIBUTION_FILE, Distribution

LEAST_LABELS = 200


class AccuracyDrop(NamedTuple):
    """Answers of a version, compared with what its training promised.

    Attributes:
        right: Labels that are the answer.
        labels: All labels.
        expected: The accuracy that was expected; None if nobody knows.
        p_value: How likely so few or fewer are right if the accuracy is the expected one.
    """

    right: int
    labels: int
    expected: float | None
    p_value: float

    @property
    def is_shown(self) -> bool:
        """Whether the accuracy is lower than expected, by a test at `LEVEL`."""
        return self.p_value < LEVEL


class Verdict(NamedTuple):
    """Whether to learn, and why or why not in one line."""

    learn: bool
    reason: str


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


def accuracy_drop(right: int, labels: int, expected: float | None) -> AccuracyDrop:
    """Return the exact one-sided binomial test of the labels since the last learning of a version.

    It holds for a single look. Who looks every hour sees a drop where there is none more often,
    which costs a learning that its gate then refuses.

    Args:
        right: Labels that are what the version answered, as `prequential.count_right` counts them.
        labels: All labels.
        expected: The accuracy of the version on the test rows of its training, if known.
    """
    from scipy.stats import binomtest

    if not labels or expected is None:
        return AccuracyDrop(right, labels, expected, 1.0)
    p_value = binomtest(right, labels, expected, alternative="less").pvalue
    return AccuracyDrop(right, labels, expected, float(p_value))


def score_bins(records: Iterable[ShardRecord], model_uri: str) -> tuple[int, ...]:
    """Return the rows that a version answered in shards, by score in `SCORE_BINS` bins.

    Args:
        records: Those of the shards.
        model_uri: The version; of a split, its arm counts.
    """
    answered: list[ShardRecord | ArmRecord] = [
        version
        for record in records
        for version in (record.arms.values() or [record])
        if version.model_uri == model_uri and version.scores
    ]
    found = [version.scores for version in answered]
    return tuple(map(sum, zip([0] * SCORE_BINS, *found, strict=True)))


def should_learn(
    new_labels: int,
    drop: AccuracyDrop,
    stability: Stability | None,
    least_labels: int = LEAST_LABELS,
) -> Verdict:
    """Return whether there is something to learn, and labels enough to learn it from.

    Args:
        new_labels: Labels since the last learning.
        drop: What they say about the version.
        stability: Of the version's scores, beside those of its training; None without scores.
        least_labels: Labels from which on it is worth it.
    """
    is_shift = stability is not None and stability.is_shift
    learn = new_labels >= least_labels and (drop.is_shown or is_shift)
    accuracy = f"{drop.right / drop.labels:.4f}" if drop.labels else "unknown"
    expected = "unknown" if drop.expected is None else f"{drop.expected:.4f}"
    psi = f"{stability.psi:.3f}, p = {stability.p_value:.3g}" if stability else "unknown"
    reason = (
        f"{'learns' if learn else 'does not learn'}: {new_labels} new labels (enough from "
        f"{least_labels} on); accuracy {accuracy} on {drop.labels} labels, expected "
        f"{expected}, p = {drop.p_value:.3g} (a drop below {LEVEL}); PSI of the scores "
        f"{psi} (a shift above {SHIFT}, below {LEVEL})"
    )
    return Verdict(learn, reason)


def _expected_accuracy(version: ModelVersion) -> float | None:
    """Return the accuracy on test rows that the build or the training found; None of neither."""
    if "accuracy" in version.tags:
        return float(version.tags["accuracy"])
    origins = list(origins_of(version).values())
    if len(origins) > 1:
        return _metric(str(version.run_id), "accuracy")  # of the composition's gate
    return _metric(origins[0].training_run_id, "test_accuracy")


def _metric(run_id: str, name: str) -> float | None:
    value: float | None = connect().get_run(run_id).data.metrics.get(name)
    return value


def _stability(version: ModelVersion, model_uri: str, scored: Path) -> Stability | None:
    """Return how far the scores are from those of the training; None of several members."""
    origins = list(origins_of(version).values())
    logged = read_logged_json(origins[0].training_run_id, DISTRIBUTION_FILE)
    if len(origins) > 1 or logged is None:
        return None
    reference = Distribution.model_validate(logged).scores
    return population_stability(score_bins(read_records(scored), model_uri), reference)
