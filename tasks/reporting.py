"""What Prefect shows of a run: a link to the report, and a few figures."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.client.schemas.objects import State

from tasks import numbers_in_words as words
from tasks.common.task_errors import RETRY_MLFLOW, RETRY_ONCE
from tasks.run_figures import LoggedRun
from tasks.training import FineTuned

if TYPE_CHECKING:
    from tasks.training_report import Reported

_KEY_FIGURES = (
    ("rows in", "rows_in", words.count),
    ("scored", "scored", words.count),
    ("rejected", "rejected", words.count),
    ("accuracy", "accuracy", words.percent),
    ("texts through the model", "model_calls", words.count),
    ("served from the cache", "cache_hits", words.count),
    ("shards done before", "shards_skipped", words.count),
    ("shards failed", "shards_failed", words.count),
    ("seconds saved", "seconds_saved", words.seconds),
    ("rows a second", "rows_per_second", words.speed),
    ("duration", "seconds", words.seconds),
)


TEST_FIGURES = (
    ("Test accuracy", "test_accuracy", words.percent),
    ("F1, mean of the labels", "test_f1", words.decimal),
    ("ROC AUC", "test_roc_auc", words.decimal),
    ("Calibration error", "test_calibration_error", words.decimal),
)


def record_of(logged: State[Any]) -> LoggedRun | None:
    """Return what a task logged, or None if it failed."""
    result = logged.result(raise_on_failure=False)
    return result if isinstance(result, LoggedRun) else None


@task(name="link report", **RETRY_ONCE)
def link_scoring_report(summary: dict[str, Any], logged: LoggedRun | None) -> None:
    """Leave a link to the report in MLflow and a short summary as Prefect artifacts.

    Args:
        summary: What `tasks.summary.publish` returned.
        logged: The run's record in MLflow, if it has one.
    """
    if logged is not None and logged.report_url:
        link_report("scoring-report", logged.report_url, logged.run_id)
    create_markdown_artifact(
        key="scoring-summary",
        markdown=scoring_markdown(summary, logged),
        description="What was scored",
    )


@task(name="report training", **RETRY_MLFLOW)
def report_training(fine_tuned: FineTuned) -> str:
    """Log a report to the training run, once; link it and leave a short summary in Prefect.

    Returns:
        Where the report opens, or an empty string if it could not be made.
    """
    from tasks.training_report import log_report

    reported = log_report(fine_tuned.run_id)
    if reported.url:
        link_report("training-report", reported.url, fine_tuned.run_id)
    create_markdown_artifact(
        key="training-summary",
        markdown=training_markdown(reported, reused=fine_tuned.reused),
        description="How well the trained model does",
    )
    return reported.url


def link_report(key: str, url: str, run_id: str) -> None:
    """Leave a link to a report as a Prefect artifact."""
    create_link_artifact(
        link=url,
        link_text="Report in MLflow",
        key=key,
        description=f"The report of MLflow run {run_id}",
    )


def scoring_markdown(summary: dict[str, Any], logged: LoggedRun | None) -> str:
    """Return the key figures of a run beside those of the run before it, as Markdown."""
    before = logged.previous.metrics if logged and logged.previous else {}
    rows = [
        (name, words.shown(summary[key], form), words.shown(before.get(key), form))
        for name, key, form in _KEY_FIGURES
        if key in summary
    ]
    lines = ["# Scored shards", "", f"{summary['model_uri']} on {summary['engine']}", ""]
    lines += [*markdown_table(("", "this run", "previous run"), rows), ""]
    if summary["engine_fallback"]:
        lines += [f"Another engine answers: {summary['engine_fallback']}", ""]
    for shard, error in list(summary["failures"].items())[:1]:
        lines += [f"The first failure: {shard}: {error}", ""]
    for fact in _left_out(summary):
        lines += [fact, ""]
    if logged is None:
        lines.append("MLflow has no record of this run.")
    else:
        lines += [logged.report_error, ""] if logged.report_error else []
        if logged.report_url:
            lines.append(f"[Report in MLflow]({logged.report_url})")
    return "\n".join(lines)


def _left_out(summary: dict[str, Any]) -> Iterator[str]:
    """Yield what a run did not score, and why."""
    if left := summary["left_because"]:
        counts = ", ".join(f"{reason}: {count}" for reason, count in left.items())
        yield f"{summary['shards_left']} shards were left out ({counts})."
    if settling := summary["files_settling"]:
        yield f"{len(settling)} files changed a moment ago and are left for the next run."
    if removed := summary["files_removed"]:
        yield f"{len(removed)} files are gone whose rows are in the output; see the manifest."


def training_markdown(reported: "Reported", *, reused: bool) -> str:
    """Return the test figures of a model beside those of the training before it, as Markdown."""
    rows = [
        (
            name,
            words.shown(reported.metrics.get(key), form),
            words.shown(reported.previous.get(key), form),
        )
        for name, key, form in TEST_FIGURES
    ]
    lines = ["# Trained classifier", "", f"MLflow run {reported.run_id}", ""]
    lines += ["The model of an earlier run was taken: all is equal.", ""] if reused else []
    lines += [*markdown_table(("", "this run", "previous run"), rows), ""]
    lines += [reported.trouble, ""] if reported.trouble else []
    lines += [f"[Report in MLflow]({reported.url})"] if reported.url else []
    return "\n".join(lines)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table whose columns but the first are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
