"""The report of a learning: its page, its record, and what is logged once."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities.model_registry import ModelVersion, ModelVersionTag

from tasks.feedback.types import (
    AccuracyWindow,
    ChosenFeedback,
    CollectedFeedback,
    FeedbackChoices,
    LeftOut,
    MemberFeedback,
)
from tasks.pages.page import plot_errors, render_page
from tasks.promotion.learnt import read_gate
from tasks.promotion.types import GroupAccuracy, LearntGate, PromotionDecision
from tasks.reports.learning_report import LearningFigures, learning_page
from tasks.reports.learning_run import log_learning
from tasks.reports.types import LearningRun, LearntVersion
from tasks.tracking.mlflow_client import connect, read_logged_json
from tasks.tracking.names import RegisteredModel
from tasks.training.types import FineTuned

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)

GATE = LearntGate(
    test=GroupAccuracy(rows=800, champion=0.8, learnt=0.79875),
    feedback=GroupAccuracy(rows=120, champion=0.6, learnt=0.7),
    p_value=0.0123,
    batches={
        "batch-00001": GroupAccuracy(rows=70, champion=0.9, learnt=0.8),
        "batch-00002": GroupAccuracy(rows=50, champion=0.4, learnt=0.6),
    },
)


def learnt(alias: Any) -> LearntVersion:
    return LearntVersion(
        trainings={"model": FineTuned(run_id="r", model_uri="models:/m-1")},
        members={"model": RegisteredModel(name="f", version=4)},
        pipeline=RegisteredModel(name="p", version=3),
        not_used={},
        decision=PromotionDecision(alias=alias, reason="the figures"),
    )


def learning(version: LearntVersion | None = None, **collected: Any) -> LearningRun:
    """Return a run that took 240 rows of feedback in."""
    found = {
        "batch": "batch-00002-0123456789ab.parquet",
        "taken": 240,
        "duplicates": 7,
        "refused": {"text: empty": 1, "label: unknown": 1_003},
        "refused_files": {"/in/<b>.csv": "/store/refused/1.parquet"},
        "unreadable": {"/in/x.csv": "/in/x.csv: is no table"},
        "known": (),
        "store_digest": "d" * 64,
    }
    member = MemberFeedback(rows=Path("/tmp/rows.parquet"), digest="e" * 64, labels=118)
    return LearningRun(
        started=NOON,
        champion=RegisteredModel(name="p", version=2),
        choices=FeedbackChoices(),
        collected=CollectedFeedback.model_validate(found | collected),
        chosen=ChosenFeedback(
            labels=240,
            held_out=120,
            undecided=2,
            unknown_to_member=0,
            left_out=LeftOut(overruled=11, capped=13),
            held_out_rows=Path("/tmp/held-out.parquet"),
            members={"model": member},
        ),
        learnt=version,
        reason=version.decision.reason if version else "no label is to be learnt",
    )


def windows(*right: int) -> tuple[AccuracyWindow, ...]:
    """Return windows of 50 labels an hour, with so many right in each."""
    return tuple(
        AccuracyWindow(
            first=NOON + timedelta(hours=number),
            last=NOON + timedelta(hours=number, minutes=50),
            labels=50,
            right=count,
            labels_so_far=50 * (number + 1),
            right_so_far=sum(right[: number + 1]),
        )
        for number, count in enumerate(right)
    )


def test_the_page_shows_what_was_taken_in_measured_and_decided() -> None:
    accuracies = {f"models:/p/{n}": windows(20 + n, 30) for n in range(1, 6)}
    figures = LearningFigures(accuracies, 9, ("models:/p/1",), GATE)
    page = learning_page(learning(learnt("challenger")), figures)
    assert not plot_errors(page)
    html = render_page(page)
    for shown in (
        ">1,003<",
        "/in/&lt;b&gt;.csv",
        "is no table",
        "older than another label of the text",
        "too many by one person",
        "9 labels left out",
        "which texts these had learnt: models:/p/1",
        "python -m flows.promote_pipeline --version 3, which promotes it all the same",
        "better: p = 0.0123, below 0.05",
        "at most 0.5 points less",
        ">batch-00001<",
        "−10.0 points",
        "version 5: 55.0 %",
    ):
        assert shown in html, shown
    assert html.index("label: unknown") < html.index("text: empty")
    # The plot has room for the latest.
    assert "version 1: " not in html
    assert html.count(">models:/p/1<") == 1
    promoted = render_page(learning_page(learning(learnt("champion")), figures))
    assert "--version previous, which goes back to the champion before" in promoted


def test_a_page_of_nothing_learnt_says_why_and_what_to_do() -> None:
    html = render_page(learning_page(learning(), LearningFigures({}, 0, (), None)))
    assert "no label is to be learnt" in html
    assert "python -m flows.learn_from_feedback" in html
    assert "No label tests an answer yet." in html
    assert "The gate" not in html


@pytest.mark.usefixtures("new_database")
def test_what_brings_nothing_new_is_logged_once() -> None:
    first, url = log_learning(learning(), "")
    metrics = connect().get_run(first).data.metrics
    expected = {"taken_in": 240, "refused": 1_004, "labels": 240, "labels_to_learn": 118}
    assert expected.items() <= metrics.items()
    assert metrics["overruled"] == 11
    record = read_logged_json(first, "learning.json")
    assert record
    assert record["collected"]["refused"] == {"text: empty": 1, "label: unknown": 1_003}
    assert (record["learnt"], record["gate"], record["running_accuracy"]) == (None, None, {})
    assert log_learning(learning(taken=0, batch=""), "") == (first, url)
    assert log_learning(learning(), "")[0] != first


def test_the_gate_is_read_from_the_tags_of_a_version() -> None:
    tags = {
        "accuracy": "0.79875",
        "champion_accuracy": "0.8",
        "test_rows": "800",
        "feedback_accuracy": "0.7",
        "feedback_champion_accuracy": "0.6",
        "feedback_p_value": "0.0123",
        "feedback_test_rows": "120",
        "feedback_retention": '{"batch-00001": [70, 0.9, 0.8], "batch-00002": [50, 0.4, 0.6]}',
    }
    assert read_gate(version_with(tags)) == GATE
    assert read_gate(version_with({"accuracy": "0.8"})) is None


def version_with(tags: dict[str, str]) -> ModelVersion:
    found = [ModelVersionTag(name, tags[name]) for name in tags]  # type: ignore[no-untyped-call]
    return ModelVersion("p", "3", 0, tags=found)
