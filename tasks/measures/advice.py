"""What to try next, in words: read from the losses and the test metrics of a training."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

# The last evaluation is lower by more than this share of the one before.
_STILL_FALLING = 0.03

_BAD_CALIBRATION = 0.1

# Of fewer test rows of a label, a share says little.
_FEWEST_ROWS = 5
_LOW_RECALL = 0.5
_RARE = 0.5  # of the rows that each label would have if all had as many


@dataclass(frozen=True)
class Outcome:
    """What was measured of a training.

    Attributes:
        steps: Steps that were made.
        losses: Step and validation loss of each evaluation.
        accuracy: Share of the test rows that are right.
        calibration_error: Of the test rows.
        baseline: Share of the test rows that a linear model is right for; None if not measured.
        confusion: Test rows by true (index) and predicted label.
        weighted: Whether the loss of rare labels had more weight.
    """

    steps: int
    losses: Sequence[tuple[int, float]]
    accuracy: float
    calibration_error: float
    baseline: float | None
    confusion: pd.DataFrame
    weighted: bool


def advise(outcome: Outcome) -> tuple[str, ...]:
    """Return a line for each finding, with the parameter to change; none if all is well."""
    return tuple(
        line
        for finding in (_still_falling, _worse_than_baseline, _badly_calibrated, _rare_labels)
        for line in finding(outcome)
    )


def _still_falling(outcome: Outcome) -> Iterator[str]:
    if len(outcome.losses) < 2:
        return
    (earlier, before), (step, last) = outcome.losses[-2:]
    if last < before * (1 - _STILL_FALLING):
        yield (
            f"the validation loss still falls, from {before:.3f} at step {earlier} to {last:.3f} "
            f"at step {step}; try min_steps {2 * outcome.steps}"
        )


def _worse_than_baseline(outcome: Outcome) -> Iterator[str]:
    if outcome.baseline is not None and outcome.baseline > outcome.accuracy:
        yield (
            f"a linear model on words and word pairs is right for {outcome.baseline:.1%} of the "
            f"test rows, this model for {outcome.accuracy:.1%}; try min_steps "
            f"{2 * outcome.steps}, then another base_model"
        )


def _badly_calibrated(outcome: Outcome) -> Iterator[str]:
    # Not `<`, which a NaN would pass.
    if not outcome.calibration_error <= _BAD_CALIBRATION:
        yield (
            f"a score differs from the share of right answers by {outcome.calibration_error:.2f} "
            "in the mean of the test rows, so that a threshold on it means little; try more "
            "labelled rows, or a larger validation_fraction"
        )


def _rare_labels(outcome: Outcome) -> Iterator[str]:
    cells = outcome.confusion.to_numpy()
    rows, right = cells.sum(axis=1), cells.diagonal()
    rare = rows < _RARE * rows.mean()
    found = rare & (rows >= _FEWEST_ROWS) & (right < _LOW_RECALL * rows)
    for label, count, total in zip(
        outcome.confusion.index[found], right[found], rows[found], strict=True
    ):
        remedy = "more rows of it" if outcome.weighted else "class_weights auto"
        yield f"of {total} test rows of the rare label {label!r}, {count} are found; try {remedy}"
        return


def outcome_of(
    metrics: Mapping[str, float],
    losses: Sequence[tuple[int, float]],
    confusion: pd.DataFrame,
    *,
    weighted: bool,
) -> Outcome:
    """Return the outcome that the metrics of a training's MLflow run describe."""
    return Outcome(
        steps=int(metrics.get("steps", losses[-1][0] if losses else 0)),
        losses=losses,
        accuracy=metrics["test_accuracy"],
        calibration_error=metrics["test_calibration_error"],
        baseline=metrics.get("test_baseline_accuracy"),
        confusion=confusion,
        weighted=weighted,
    )
