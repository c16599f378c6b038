"""When to learn: with labels enough, and worse answers or other scores than before."""

from collections.abc import Iterable
from typing import NamedTuple

from tasks.common.counting import SCORE_BINS
from tasks.measures.paired import LEVEL
from tasks.measures.stability import SHIFT, Stability
from tasks.output.records import ArmRecord, ShardRecord

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
