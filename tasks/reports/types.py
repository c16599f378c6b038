"""Types of reports: metrics with their formats, statistics of a scoring run, logged reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from tasks.common.parameter_types import FrozenModel
from tasks.feedback.types import ChosenFeedback, CollectedFeedback, FeedbackChoices
from tasks.pages.formatting import Formatter, count, decimal, percent, seconds, speed
from tasks.promotion.types import PromotionDecision
from tasks.scoring.types import OPTIONS, AttachMib, ReportExamples
from tasks.tracking.names import RegisteredModel
from tasks.training.types import FineTuned

REPORT = "report.html"
PREDICTIONS = "predictions"
STATISTICS_FILE = "report.json"


class Metric(NamedTuple):
    """A metric that reports show.

    Attributes:
        name: Its name on a page.
        key: Its name in MLflow and in the summary of a run.
        formatter: Formats its value.
    """

    name: str
    key: str
    formatter: Formatter

    @property
    def label(self) -> str:
        """Its name within a sentence or a Markdown table."""
        return self.name[0].lower() + self.name[1:]


SCORING_METRICS = {
    metric.key: metric
    for metric in (
        Metric("Rows in", "rows_in", count),
        Metric("Scored", "scored", count),
        Metric("Rejected", "rejected", count),
        Metric("Need a review", "needs_review", count),
        Metric("Accuracy", "accuracy", percent),
        Metric("Rows with a label", "labelled", count),
        Metric("Labels that the model does not know", "unknown_labels", count),
        Metric("Texts through the model", "model_calls", count),
        Metric("Texts tried again", "retried", count),
        Metric("Served from the cache", "cache_hits", count),
        Metric("Shards done before", "shards_skipped", count),
        Metric("Shards failed", "shards_failed", count),
        Metric("Rows a second", "rows_per_second", speed),
        Metric("Duration", "seconds", seconds),
        Metric("Calls avoided by deduplication", "model_calls_avoided_by_deduplication", count),
        Metric("Calls avoided by the cache", "model_calls_avoided_by_cache", count),
        Metric(
            "Calls avoided by skipping shards that were done",
            "model_calls_avoided_by_resume",
            count,
        ),
        Metric("Time saved", "seconds_saved", seconds),
    )
}

# Of an arm of a split.
ARM_METRICS = (
    Metric("Share of the keys that was asked for", "asked_share", percent),
    Metric("Share of the rows", "row_share", percent),
    *(
        SCORING_METRICS[key]
        for key in (
            "rows_in",
            "scored",
            "rejected",
            "labelled",
            "unknown_labels",
            "accuracy",
            "cache_hits",
            "model_calls",
        )
    ),
    Metric("Time of the answers, summed over shards", "seconds", seconds),
    Metric("Rows a second of that time", "rows_per_second", speed),
    Metric("Time in the model for 1,000 texts", "model_seconds_per_1000", seconds),
)

KEY_METRICS = (
    Metric("Test accuracy", "test_accuracy", percent),
    Metric("F1, mean of the labels", "test_f1", decimal),
    Metric("ROC AUC", "test_roc_auc", decimal),
    Metric("Calibration error", "test_calibration_error", decimal),
)

TEST_METRICS = (
    *KEY_METRICS,
    Metric("Calibration error without the temperature", "test_calibration_error_before", decimal),
    Metric("Accuracy of a linear model on words", "test_baseline_accuracy", percent),
)


def scoring_metrics(*keys: str) -> tuple[Metric, ...]:
    """Return the metrics of a scoring run with these keys, in this order."""
    return tuple(SCORING_METRICS[key] for key in keys)


class RunStatistics(BaseModel):
    """Statistics of a scoring run, which reports of later runs compare; no text of a row.

    Attributes:
        started: When the run began.
        model_uri: The pipeline version.
        engine: Engine, precision and device of the transformer.
        metrics: Numbers of the summary, under their names in MLflow.
        labels: Rows by predicted label.
        deciders: Rows by the member of a composed pipeline that decided them; empty with a split.
        languages: Rows by detected language.
        reasons: Rejected rows by step and reason.
        scores: Rows by score, in `SCORE_BINS` bins of equal width.
        warnings: Lines on rows that look wrong and were scored all the same.
    """

    model_config = ConfigDict(frozen=True)  # ignores fields of later versions

    started: datetime
    model_uri: str
    engine: str
    metrics: dict[str, float]
    labels: dict[str, int] = {}
    deciders: dict[str, int] = {}
    languages: dict[str, int] = {}
    reasons: dict[str, int] = {}
    scores: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()


class ReportOptions(FrozenModel):
    """What the record of a scoring run has of the rows."""

    report_examples: ReportExamples = OPTIONS.report_examples
    attach_mib: AttachMib = OPTIONS.attach_mib


class Download(FrozenModel):
    """The predictions of an input file, as a file that a browser downloads.

    Attributes:
        source: The input file.
        rows: Its predictions.
        path: The artifact of the MLflow run; empty if it is none.
        url: Where MLflow's server has it.
        bytes: Its size.
        left: Why it is none; empty if it is one.
    """

    source: str
    rows: int
    path: str = ""
    url: str = ""
    bytes: int = 0
    left: str = ""


class LoggedRun(FrozenModel):
    """A scoring run's record in MLflow.

    Attributes:
        run_id: The MLflow run.
        report_url: The report in MLflow's UI; empty if there is none.
        report_error: Why the report or a download is missing or incomplete; empty if none is.
        downloads: The input files of which this run scored or copied rows.
        statistics: Those of the run.
        previous: Those of the run before it into the same folder, if there was one.
    """

    run_id: str
    report_url: str
    report_error: str
    downloads: tuple[Download, ...]
    statistics: RunStatistics
    previous: RunStatistics | None


@dataclass(frozen=True)
class LoggedReport:
    """A training run with its report.

    Attributes:
        run_id: The MLflow run.
        url: The report in MLflow's UI; empty if there is none.
        error: Why the report is missing or incomplete; empty if it is not.
        metrics: Those of the run.
        previous: Those of the run before it; empty if there was none.
        advice: What to try next.
    """

    run_id: str
    url: str
    error: str
    metrics: Mapping[str, float]
    previous: Mapping[str, float]
    advice: Sequence[str] = ()


class LearntVersion(FrozenModel):
    """What was learnt from feedback, and what became of it.

    Attributes:
        trainings: What learnt, by the names of the members.
        members: The same as versions.
        pipeline: The version of the pipeline with them inside.
        not_used: Why engines and precisions do not answer.
        decision: Whether it is champion, and why.
    """

    trainings: dict[str, FineTuned]
    members: dict[str, RegisteredModel]
    pipeline: RegisteredModel
    not_used: dict[str, str]
    decision: PromotionDecision

    def summary(self) -> dict[str, Any]:
        """Return what a flow prints."""
        return {
            "finetuned_models": {name: version.uri for name, version in self.members.items()},
            "inference_pipeline_model": self.pipeline.uri,
            **self.decision.model_dump(),
            "not_used": self.not_used,
            "answers_now": self.decision.describe_answering(self.pipeline),
        }


class LearningRun(FrozenModel):
    """What became of feedback: taken in, chosen, learnt, promoted.

    Attributes:
        started: When the run began.
        champion: The version that answered when it began.
        choices: Which labels count.
        collected: What was taken in.
        chosen: The labels that count.
        learnt: The version that learnt them; None if nothing was learnt.
        reason: Why it is champion or not, or why nothing was learnt.
    """

    started: datetime
    champion: RegisteredModel
    choices: FeedbackChoices
    collected: CollectedFeedback
    chosen: ChosenFeedback
    learnt: LearntVersion | None
    reason: str
