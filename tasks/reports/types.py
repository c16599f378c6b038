"""Records of reports: the metrics that they show, and what a scoring run left in MLflow."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from tasks.reports import formatting as words

REPORT = "report.html"
STATISTICS_FILE = "report.json"


class Metric(NamedTuple):
    """A metric that reports show.

    Attributes:
        name: What it is called on a page.
        key: Its name in MLflow and in the summary of a run.
        form: How its value is written.
    """

    name: str
    key: str
    form: words.Format

    @property
    def label(self) -> str:
        """Its name within a line, as in the Markdown summary."""
        return self.name[0].lower() + self.name[1:]


SCORING_METRICS = {
    metric.key: metric
    for metric in (
        Metric("Rows in", "rows_in", words.count),
        Metric("Scored", "scored", words.count),
        Metric("Rejected", "rejected", words.count),
        Metric("Accuracy", "accuracy", words.percent),
        Metric("Rows with a label", "labelled", words.count),
        Metric("Labels that the model does not know", "unknown_labels", words.count),
        Metric("Texts through the model", "model_calls", words.count),
        Metric("Texts tried again", "retried", words.count),
        Metric("Served from the cache", "cache_hits", words.count),
        Metric("Shards done before", "shards_skipped", words.count),
        Metric("Shards failed", "shards_failed", words.count),
        Metric("Rows a second", "rows_per_second", words.speed),
        Metric("Duration", "seconds", words.seconds),
        Metric(
            "Calls avoided by deduplication", "model_calls_avoided_by_deduplication", words.count
        ),
        Metric("Calls avoided by the cache", "model_calls_avoided_by_cache", words.count),
        Metric(
            "Calls avoided by skipping shards that were done",
            "model_calls_avoided_by_resume",
            words.count,
        ),
        Metric("Time saved", "seconds_saved", words.seconds),
    )
}

TEST_METRICS = (
    Metric("Test accuracy", "test_accuracy", words.percent),
    Metric("F1, mean of the labels", "test_f1", words.decimal),
    Metric("ROC AUC", "test_roc_auc", words.decimal),
    Metric("Calibration error", "test_calibration_error", words.decimal),
)


def scoring_metrics(*keys: str) -> tuple[Metric, ...]:
    """Return the metrics of a scoring run with these keys, in this order."""
    return tuple(SCORING_METRICS[key] for key in keys)


class RunStatistics(BaseModel):
    """What a scoring run did, in numbers that the next run into the folder is compared with.

    No text of a row is in it.

    Attributes:
        started: When the run began.
        model_uri: The pipeline version that answered.
        engine: What computed the transformer.
        metrics: The numbers of the summary, as MLflow has them.
        labels: Rows by predicted label.
        languages: Rows by detected language.
        reasons: Rejected rows by step and reason.
        scores: Rows by score, in `SCORE_BINS` bins of equal width.
    """

    model_config = ConfigDict(frozen=True)  # what a later version adds is ignored

    started: datetime
    model_uri: str
    engine: str
    metrics: dict[str, float]
    labels: dict[str, int] = {}
    languages: dict[str, int] = {}
    reasons: dict[str, int] = {}
    scores: tuple[int, ...] = ()


class LoggedRun(BaseModel):
    """A scoring run's record in MLflow.

    Attributes:
        run_id: The MLflow run.
        report_url: Where its report opens in MLflow's UI; empty if it could not be made.
        report_error: Why there is no report, or not all of it; empty if there is.
        statistics: What the run did.
        previous: What the run before it into the same folder did, if there was one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    report_url: str
    report_error: str
    statistics: RunStatistics
    previous: RunStatistics | None


@dataclass(frozen=True)
class LoggedReport:
    """A training run with its report.

    Attributes:
        run_id: The MLflow run.
        url: Where the report opens in MLflow's UI; empty if it could not be made.
        trouble: Why it could not.
        metrics: The figures of the run.
        previous: Those of the run before it; empty if there was none.
    """

    run_id: str
    url: str
    trouble: str
    metrics: Mapping[str, float]
    previous: Mapping[str, float]
