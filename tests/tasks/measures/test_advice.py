"""What a training is found to lack, and which parameter is named for it."""

from dataclasses import replace

import pandas as pd
import pytest

from tasks.measures.advice import Outcome, advise

LABELS = ["common", "usual", "rare"]
FINE = Outcome(
    steps=200,
    losses=[(100, 0.31), (150, 0.30), (200, 0.301)],
    accuracy=0.92,
    calibration_error=0.04,
    baseline=0.90,
    confusion=pd.DataFrame([[50, 0, 0], [2, 48, 0], [1, 1, 10]], index=LABELS, columns=LABELS),
    weighted=False,
)
MISSED = pd.DataFrame([[50, 0, 0], [2, 48, 0], [5, 4, 3]], index=LABELS, columns=LABELS)
FEW = pd.DataFrame([[50, 0, 0], [2, 48, 0], [3, 1, 0]], index=LABELS, columns=LABELS)


@pytest.mark.parametrize(
    "outcome",
    [
        FINE,
        replace(FINE, losses=[]),
        replace(FINE, losses=[(200, 0.3)]),
        replace(FINE, baseline=None),
        replace(FINE, baseline=0.92),
        replace(FINE, confusion=FEW),
    ],
)
def test_a_training_without_findings_gets_no_advice(outcome: Outcome) -> None:
    assert advise(outcome) == ()


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (
            replace(FINE, losses=[(150, 0.5), (200, 0.4)]),
            (
                "the validation loss still falls, from 0.500 at step 150 to 0.400 at step 200; "
                "try min_steps 400"
            ),
        ),
        (
            replace(FINE, baseline=0.95),
            (
                "a linear model on words and word pairs is right for 95.0% of the test rows, this "
                "model for 92.0%; try min_steps 400, then another base_model"
            ),
        ),
        (
            replace(FINE, calibration_error=0.2),
            (
                "a score differs from the share of right answers by 0.20 in the mean of the test "
                "rows, so that a threshold on it means little; try more labelled rows, or a larger "
                "validation_fraction"
            ),
        ),
        (
            replace(FINE, confusion=MISSED),
            "of 12 test rows of the rare label 'rare', 3 are found; try class_weights auto",
        ),
        (
            replace(FINE, confusion=MISSED, weighted=True),
            "of 12 test rows of the rare label 'rare', 3 are found; try more rows of it",
        ),
    ],
)
def test_each_finding_is_a_line_with_what_to_change(outcome: Outcome, expected: str) -> None:
    assert advise(outcome) == (expected,)
