"""HTML report of a scoring run: parameters, files, accuracy, speed, predictions, rejected rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.pages import formatting
from tasks.pages.formatting import describe_accuracies, format_count_of, format_time
from tasks.pages.page import Block, Facts, KeyMetric, Note, Page, Plots, Quotes, Section, Table
from tasks.pages.plots import describe_scores, draw_plot, plot_score_distribution, plot_shares
from tasks.reports.row_examples import Example, ScoredExample
from tasks.reports.tables import (
    arms_rows,
    comparison_table,
    failures_table,
    files_table,
    key_metric,
    reasons_table,
    shares_table,
    top_reasons,
)
from tasks.reports.types import (
    ARM_METRICS,
    Download,
    Metric,
    RunStatistics,
    scoring_metrics,
)
from tasks.scoring.types import ScoringParameters, ShardOutcome
from tasks.training.types import Distribution

_WARNINGS = 10  # on rows; the manifest has all

_MAX_FILES = 100

_NOW, _BEFORE, _TRAINED = "this run", "previous run", "test rows of training"


@dataclass(frozen=True)
class ScoringRun:
    """A scoring run as its report shows it.

    Attributes:
        parameters: What the shards were scored with.
        outcomes: One for each shard.
        statistics: Those of the run.
        previous: Those of the run before it, if there was one.
        git_commit: The commit of the code.
        downloads: The input files of which this run scored or copied rows.
        arms: The fields of each arm of a split in the summary; empty without a split.
        training_distribution: Predictions for the test rows of the training, if it logged them.
        examples: Rejected rows by step and reason.
        sample: Scored rows of each label.
        examples_error: Why rows are missing in these; empty if none are.
    """

    parameters: ScoringParameters
    outcomes: Sequence[ShardOutcome]
    statistics: RunStatistics
    previous: RunStatistics | None
    git_commit: str
    downloads: Sequence[Download] = ()
    arms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    training_distribution: Distribution | None = None
    examples: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    sample: Sequence[ScoredExample] = ()
    examples_error: str = ""


def scoring_page(run: ScoringRun) -> Page:
    """Return the page of a scoring run."""
    sections = (
        *_warnings(run),
        _run_section(run),
        Section("On what", [files_table(run.outcomes)]),
        _accuracy_section(run),
        *_arms_section(run),
        Section("How fast", [_comparison(run, _SPEED)]),
        _predictions_section(run),
        *_sample_section(run),
        _files_section(run),
        _languages_section(run),
        _rejected_section(run),
        Section("Savings", [_comparison(run, _SAVINGS)]),
    )
    started = format_time(run.statistics.started)
    return Page(
        kind="Scoring report",
        title=run.parameters.output_dir.name,
        subtitle=f"{started} · {run.statistics.model_uri} · {run.statistics.engine}",
        key_metrics=_key_metrics(run),
        sections=sections,
    )


_SPEED = scoring_metrics("seconds", "rows_per_second", "model_calls", "retried")
_SAVINGS = scoring_metrics(
    "model_calls_avoided_by_deduplication",
    "model_calls_avoided_by_cache",
    "model_calls_avoided_by_resume",
    "seconds_saved",
)
_QUALITY = scoring_metrics("accuracy", "labelled", "unknown_labels")
_KEY_METRICS = scoring_metrics(
    "rows_in", "rejected", "needs_review", "accuracy", "model_calls", "rows_per_second", "seconds"
)


def _key_metrics(run: ScoringRun) -> list[KeyMetric]:
    now, before = run.statistics.metrics, _previous_metrics(run)
    return [key_metric(metric, now, before) for metric in _KEY_METRICS if metric.key in now]


def _previous_metrics(run: ScoringRun) -> dict[str, float]:
    return run.previous.metrics if run.previous else {}


def _comparison(run: ScoringRun, metrics: Iterable[Metric]) -> Table:
    return comparison_table(run.statistics.metrics, _previous_metrics(run), metrics)


def _run_section(run: ScoringRun) -> Section:
    parameters, rows = run.parameters, run.parameters.rows
    shard_rows = formatting.count(parameters.shard_rows)
    facts = [
        ("Pipeline", parameters.model.uri),
        ("Engine", run.statistics.engine),
        ("Output folder", str(parameters.output_dir)),
        ("Started", format_time(run.statistics.started)),
        ("Prefect flow run", parameters.flow_run_id or formatting.DASH),
        ("Code", run.git_commit),
        ("Text column", rows.text_column),
        ("Label column", rows.label_column or formatting.DASH),
        ("Languages", rows.language.describe()),
        ("Review", f"scores below {rows.review_below:g}" if rows.review_below else formatting.DASH),
        ("A/B", rows.traffic.describe() if rows.traffic else formatting.DASH),
        ("Prediction cache", "used" if parameters.use_cache else "not used"),
        ("Workers", f"{parameters.workers}, {shard_rows} rows a shard"),
    ]
    return Section("What ran", [Facts(facts), Note(_describe_changes(run))])


def _describe_changes(run: ScoringRun) -> str:
    before, now = run.previous, run.statistics
    if before is None:
        return (
            "No earlier run into this folder, with a model of this name and these labels, is "
            "known, so there is nothing to compare."
        )
    parts = [f"The previous run into this folder began {format_time(before.started)}"]
    if before.model_uri and before.model_uri != now.model_uri:
        parts.append(f"pipeline {before.model_uri}, now {now.model_uri}")
    if before.engine and before.engine != now.engine:
        parts.append(f"engine {before.engine}, now {now.engine}")
    return "; ".join(parts) + "."


def _warnings(run: ScoringRun) -> list[Section]:
    blocks: list[Block] = []
    failed = [outcome for outcome in run.outcomes if outcome.error]
    if failed:
        shards = format_count_of(len(failed), "shard")
        rows = format_count_of(sum(outcome.rows_failed for outcome in failed), "row")
        text = f"{shards} failed, with {rows} that are not published."
        blocks += [Note(text, warning=True), failures_table(failed)]
    blocks += [Note(f"{text}.", warning=True) for text in run.statistics.warnings[:_WARNINGS]]
    for model in run.parameters.models:
        if model.fallback:
            text = f"{model.uri} was built for another engine: {model.fallback}."
            blocks.append(Note(text, warning=True))
    if cache_failures := run.statistics.metrics["cache_failures"]:
        failed_times = format_count_of(cache_failures, "time")
        text = f"The prediction cache failed {failed_times}, at a cost in speed."
        blocks.append(Note(text, warning=True))
    return [Section("What needs attention", blocks)] if blocks else []


def _accuracy_section(run: ScoringRun) -> Section:
    if run.parameters.rows.label_column is None:
        return Section("How well", [Note("The rows have no label column: no accuracy is known.")])
    return Section("How well", [_comparison(run, _QUALITY)])


def _arms_section(run: ScoringRun) -> list[Section]:
    if not run.arms:
        return []
    versions = [f"{name}: {arm['model_uri']} on {arm['engine']}" for name, arm in run.arms.items()]
    blocks: list[Block] = [
        Note(f"{'; '.join(versions)}."),
        Table(("", *run.arms), arms_rows(run.arms, ARM_METRICS)),
    ]
    if without_key := run.statistics.metrics["rows_without_key"]:
        rows = format_count_of(without_key, "row")
        blocks.append(Note(f"No key: {rows}, which went by their text.", warning=True))
    if compared := describe_accuracies(run.statistics.metrics):
        blocks.append(Note(compared))
    scored = {name: arm for name, arm in run.arms.items() if arm["scored"]}
    if scored:
        scores = {name: arm["scores"] for name, arm in scored.items()}
        # The challenger first, so that differences are those from the control.
        labels = {name: scored[name]["labels"] for name in reversed(scored)}
        alt_text = describe_scores(scores)
        plot = draw_plot("arms", "Scores of both", alt_text, plot_score_distribution, scores)
        blocks += [Plots([plot]), shares_table("Label", labels)]
        deciders = {name: scored[name].get("decided_by") for name in labels}
        if composed := {name: counts for name, counts in deciders.items() if counts}:
            blocks.append(shares_table("Decided by", composed))
    return [Section("A/B", blocks)]


def _predictions_section(run: ScoringRun) -> Section:
    if not run.statistics.labels:
        return Section("Labels and scores", [Note("No row was scored.")])
    labels, scores = {_NOW: run.statistics.labels}, {_NOW: run.statistics.scores}
    for name, other in ((_BEFORE, run.previous), (_TRAINED, run.training_distribution)):
        if other is not None and other.scores:
            labels[name], scores[name] = other.labels, other.scores
    text = "The table below has the numbers."
    plots = [
        draw_plot("scores", "Scores", describe_scores(scores), plot_score_distribution, scores),
        draw_plot("labels", "Predicted labels", text, plot_shares, labels),
    ]
    blocks: list[Block] = [Plots(plots), shares_table("Label", labels)]
    if run.statistics.deciders:
        blocks.append(_deciders_table(run))
    if run.training_distribution is None and not run.parameters.is_composed:
        text = "The training of this model left no distribution of its test rows' scores."
        blocks.append(Note(text))
    return Section("Labels and scores", blocks)


def _deciders_table(run: ScoringRun) -> Table:
    deciders = {_NOW: run.statistics.deciders}
    if run.previous is not None and run.previous.deciders:
        deciders[_BEFORE] = run.previous.deciders
    return shares_table("Decided by", deciders)


def _sample_section(run: ScoringRun) -> list[Section]:
    rows = [
        (row.text, f"{row.shard}, row {formatting.count(row.row)}", row.label, f"{row.score:.3f}")
        for row in run.sample
    ]
    header = ("Text", "from", "predicted label", "score")
    table = Table(header, rows, text_columns=3)
    return [Section("A sample of the predictions", [table])] if rows else []


def _files_section(run: ScoringRun) -> Section:
    rows = [
        (found.path or found.left, found.source, formatting.count(found.rows))
        for found in run.downloads
    ]
    folder = run.parameters.output_dir
    # No link: MLflow's UI shows the page in a frame that may not download.
    text = (
        "Download the files in the Artifacts of this MLflow run, beside this report; the Prefect "
        "artifact scored-files links to each. "
        if rows
        else "This run attached no predictions to MLflow. "
    )
    note = Note(f"{text}All predictions are in {folder / 'predictions'}.")
    table = Table(("Download", "input", "predictions"), rows[:_MAX_FILES], text_columns=2)
    return Section("Files", [note, table] if rows else [note])


def _languages_section(run: ScoringRun) -> Section:
    if not run.statistics.languages:
        return Section("Languages", [Note("No language was looked for.")])
    languages = {_NOW: run.statistics.languages}
    if run.previous is not None and run.previous.languages:
        languages[_BEFORE] = run.previous.languages
    return Section("Languages", [shares_table("Language", languages)])


def _rejected_section(run: ScoringRun) -> Section:
    if not run.statistics.reasons and not (run.previous and run.previous.reasons):
        return Section("Rejected rows", [Note("Every row was scored.")])
    blocks: list[Block] = [reasons_table(run.statistics, run.previous)]
    if run.examples_error:
        blocks.append(Note(f"Not all examples are here: {run.examples_error}.", warning=True))
    for reason in top_reasons(run.statistics):
        if rows := run.examples.get(reason):
            places = [(f"{row.shard}, row {formatting.count(row.row)}", row.text) for row in rows]
            blocks.append(Quotes(reason, places))
    return Section("Rejected rows", blocks)
