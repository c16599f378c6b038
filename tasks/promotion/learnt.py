"""Whether a version that learnt from feedback may become champion: by old rows and by new ones."""

import json
from collections.abc import Iterator, Mapping

import pandas as pd
from mlflow.entities.model_registry import ModelVersion

from tasks.dataset.splitting import digest_text
from tasks.measures.paired import MARGIN, PairedCounts, mcnemar_p_value
from tasks.promotion.held_out_answers import answer_groups, load_held_out_rows, select_unused
from tasks.promotion.rules import Judgement, how_to_promote, is_better, too_few
from tasks.promotion.types import LearntGate

# Of a version: for each batch of feedback, its held-out rows, and the accuracy of the champion and
# of itself on them, as JSON.
RETENTION_TAG = "feedback_retention"

_MOST_BATCHES = 60  # the latest: MLflow servers refuse tags of 5,000 characters or more

_OLD = ""  # the group of the test rows; batches have names


def judge_learnt(
    candidate: ModelVersion, champion: ModelVersion, *, feedback: pd.DataFrame
) -> Judgement:
    """Return whether a version that learnt from feedback is better on it, and keeps what it knew.

    On old test rows it may be `MARGIN` below the champion at most. On held-out feedback it has to
    be better, by the exact test of McNemar. Rows count that neither was trained or validated on,
    each text once; of old ones there have to be `rules.MIN_COMPARED_ROWS`.

    Args:
        candidate: The version.
        champion: The version that answers today.
        feedback: Held-out feedback: `text`, `label`, and the name of its `batch`.
    """
    old = load_held_out_rows(candidate, champion)
    if problem := too_few(old, champion):
        return Judgement(passed=False, reason=f"{problem}; {how_to_promote(candidate)}")
    feedback = feedback[~feedback["text"].map(digest_text).duplicated()]
    feedback = select_unused(feedback, candidate, champion)
    if feedback.empty:
        reason = f"no held-out feedback is new to both; {how_to_promote(candidate)}"
        return Judgement(passed=False, reason=reason)
    batches = {str(name): rows for name, rows in feedback.groupby("batch", sort=True)}
    answers = answer_groups({_OLD: old.held_out, **batches}, candidate, champion)
    counts = {name: found.counts for name, found in answers.items()}
    before = counts.pop(_OLD)
    new = PairedCounts(*map(sum, zip(*counts.values(), strict=True)))
    is_kept = before.accuracy_of_other >= before.accuracy_of_present - MARGIN
    better, figures = is_better(new)
    reason = (
        f"accuracy {_beside(before)} of champion {champion.version} on {before.rows} test rows; "
        f"expected at most {100 * MARGIN:g} points less; {_beside(new)} on {new.rows} rows of "
        f"held-out feedback: {figures}"
    )
    passed = is_kept and better
    return Judgement(
        passed=passed,
        reason=reason if passed else f"{reason}; {how_to_promote(candidate)}",
        tags=dict(_tags(before, new, counts)),
    )


def read_gate(version: ModelVersion) -> LearntGate | None:
    """Return the figures that `judge_learnt` found of a version; None if it was not judged."""
    tags = version.tags
    if RETENTION_TAG not in tags:
        return None
    names = ("rows", "champion", "learnt")

    def read(*tag_names: str) -> dict[str, str]:
        return dict(zip(names, map(tags.__getitem__, tag_names), strict=True))

    batches = json.loads(tags[RETENTION_TAG])
    return LearntGate.model_validate(
        {
            "test": read("test_rows", "champion_accuracy", "accuracy"),
            "feedback": read(
                "feedback_test_rows", "feedback_champion_accuracy", "feedback_accuracy"
            ),
            "p_value": tags["feedback_p_value"],
            "batches": {
                name: dict(zip(names, found, strict=True)) for name, found in batches.items()
            },
        }
    )


def _beside(counts: PairedCounts) -> str:
    return f"{counts.accuracy_of_other:.4f} and {counts.accuracy_of_present:.4f}"


def _tags(
    before: PairedCounts, new: PairedCounts, batches: Mapping[str, PairedCounts]
) -> Iterator[tuple[str, object]]:
    yield "accuracy", before.accuracy_of_other
    yield "champion_accuracy", before.accuracy_of_present
    yield "test_rows", before.rows
    yield "feedback_accuracy", new.accuracy_of_other
    yield "feedback_champion_accuracy", new.accuracy_of_present
    yield "feedback_p_value", mcnemar_p_value(new)
    yield "feedback_test_rows", new.rows
    latest = list(batches.items())[-_MOST_BATCHES:]
    retention = {
        name: [found.rows, round(found.accuracy_of_present, 4), round(found.accuracy_of_other, 4)]
        for name, found in latest
    }
    yield RETENTION_TAG, json.dumps(retention)
