"""Summaries of runs: Markdown for Prefect artifacts, and the table of an end-to-end run."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from tasks.common.console import print_table
from tasks.common.settings import REPOSITORY, get_settings
from tasks.common.text import escape_markdown, markdown_table
from tasks.pages.formatting import count, describe_accuracies, format_or_dash
from tasks.reports.types import (
    ARM_METRICS,
    TEST_METRICS,
    LoggedReport,
    LoggedRun,
    Metric,
    scoring_metrics,
)
from tasks.scoring.types import ScoringParameters
from tasks.tracking.names import FINETUNED_MODEL, PIPELINE_MODEL

_MOST_LINKS = 100

_KEY_METRICS = scoring_metrics(
    "rows_in",
    "scored",
    "rejected",
    "needs_review",
    "accuracy",
    "model_calls",
    "cache_hits",
    "shards_skipped",
    "shards_failed",
    "seconds_saved",
    "rows_per_second",
    "seconds",
)

OVERVIEW = {
    "test_accuracy": "test accuracy",
    "finetuned_model": FINETUNED_MODEL,
    "inference_pipeline_model": PIPELINE_MODEL,
    "rows_in": "rows in",
    "scored": "rows scored",
    "rejected": "rows rejected",
    "cache_hits": "served from the cache",
    "shards_skipped": "shards done before",
    "output_dir": "output folder",
}


def scoring_markdown(summary: dict[str, Any], logged: LoggedRun | None) -> str:
    """Return the key metrics of a scoring run and the run before it, as Markdown."""
    from tasks.reports.tables import arms_rows

    before = logged.previous.metrics if logged and logged.previous else {}
    rows = [
        (metric.label, *_format_values(metric, summary, before))
        for metric in _KEY_METRICS
        if metric.key in summary
    ]
    lines = ["# Scored shards", "", f"{summary['model_uri']} on {summary['engine']}", ""]
    for fact in _unscored_notes(summary):
        lines += [escape_markdown(fact), ""]
    lines += [markdown_table(("", "this run", "previous run"), rows, numbers=True), ""]
    if arms := summary.get("arms"):
        lines += [markdown_table(("", *arms), arms_rows(arms, ARM_METRICS), numbers=True), ""]
        lines += [compared, ""] if (compared := describe_accuracies(summary)) else []
    if summary["engine_fallback"]:
        lines += [f"Another engine answers: {summary['engine_fallback']}", ""]
    for shard, error in list(summary["failures"].items())[:1]:
        lines += [f"The first failure: {escape_markdown(f'{shard}: {error}')}", ""]
    if logged is None:
        lines.append("MLflow has no record of this run.")
    else:
        lines += [logged.report_error, ""] if logged.report_error else []
        if logged.report_url:
            lines.append(f"[Report in MLflow]({logged.report_url})")
    return "\n".join(lines)


def downloads_markdown(parameters: ScoringParameters, logged: LoggedRun | None) -> str:
    """Return where the predictions are, as Markdown: links that download them, and the folder."""
    lines = ["# Scored files", ""]
    downloads = logged.downloads if logged else ()
    if downloads:
        rows = [
            (
                escape_markdown(found.source),
                count(found.rows),
                f"[{found.path}]({found.url})" if found.path else escape_markdown(found.left),
            )
            for found in downloads[:_MOST_LINKS]
        ]
        lines += [markdown_table(("input", "predictions", "download"), rows), ""]
        if (more := len(downloads) - _MOST_LINKS) > 0:
            lines += [f"{count(more)} more files are not listed here.", ""]
    else:
        lines += ["This run attached no predictions to MLflow.", ""]
    folder = escape_markdown(str(parameters.output_dir))
    return "\n".join([*lines, f"All are in the output folder {folder}."])


def _unscored_notes(summary: dict[str, Any]) -> Iterator[str]:
    """Yield sentences on input that was not scored, or looks wrong."""
    if left := summary["left_because"]:
        counts = ", ".join(f"{reason}: {count}" for reason, count in left.items())
        yield f"{summary['shards_left']} shards were left out ({counts})."
    if warnings := summary["row_warnings"]:
        more = f", and {len(warnings) - 1} more warnings" if len(warnings) > 1 else ""
        yield f"Rows that look wrong: {warnings[0]}{more}."
    if settling := summary["files_settling"]:
        files = "1 file" if len(settling) == 1 else f"{len(settling)} files"
        yield (
            f"{files} changed a moment ago, left for the next run, since somebody may still write "
            "there. A run with settle_seconds 0 takes what is there."
        )
    if removed := summary["files_removed"]:
        yield f"{len(removed)} files are gone whose rows are in the output; see the manifest."


def training_markdown(logged: LoggedReport, missing: Mapping[str, str], *, reused: bool) -> str:
    """Return the test metrics of a training and the one before it, as Markdown.

    Args:
        logged: The training run.
        missing: Files that could not be made, with the reason.
        reused: Whether the model is that of an earlier run.
    """
    rows = [
        (metric.name, *_format_values(metric, logged.metrics, logged.previous))
        for metric in TEST_METRICS
    ]
    lines = ["# Trained classifier", "", f"MLflow run {logged.run_id}", ""]
    lines += ["The model of an earlier run was taken: all is equal.", ""] if reused else []
    lines += [markdown_table(("", "this run", "previous run"), rows, numbers=True), ""]
    for fact in (*logged.advice, *(f"{name}: {reason}" for name, reason in missing.items())):
        lines += [escape_markdown(fact), ""]
    lines += [f"[Report in MLflow]({logged.url})"] if logged.url else []
    return "\n".join(lines)


def _format_values(
    metric: Metric, now: Mapping[str, Any], before: Mapping[str, float]
) -> tuple[str, str]:
    new, old = (format_or_dash(run.get(metric.key), metric.formatter) for run in (now, before))
    return new, old


def print_overview(report: dict[str, Any]) -> None:
    """Print the metrics of an end-to-end run and the commands that open the user interfaces.

    Args:
        report: Report of `end_to_end`, whole or in part.
    """
    from tasks.tracking.registry import describe_aliases

    rows = {label: report[name] for name, label in OVERVIEW.items() if name in report}
    for name in (FINETUNED_MODEL, PIPELINE_MODEL):
        if name in rows:
            rows[name] = f"{rows[name]} {describe_aliases(rows[name])}"
    rows |= {
        "look at the models": f"{_home_prefix()}make mlflow-ui",
        "look at the runs": f"{_home_prefix()}make prefect-ui",
    }
    if "answers_now" in report:
        rows["answers now"] = report["answers_now"]
    print_table("End to end", rows)


def _home_prefix() -> str:
    root = get_settings().root
    return "" if root == REPOSITORY / "var" else f"MILLSTREAM_HOME={shlex.quote(str(root))} "
