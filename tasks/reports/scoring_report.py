"""The page of a scoring run: what ran, on what, how well, how fast, and what it saved."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.reports import formatting as words
from tasks.reports.page import Block, Facts, KeyMetric, Note, Page, Pictures, Quotes, Section
from tasks.reports.plots import draw, score_distribution, scores_as_text, shares_by_name
from tasks.reports.rejected_examples import Example
from tasks.reports.tables import (
    comparison_table,
    failures_table,
    files_table,
    key_metric,
    reasons_shown,
    reasons_table,
    shares_table,
)
from tasks.reports.types import RunStatistics, scoring_metrics
from tasks.scoring.types import ScoringParameters, ShardOutcome
from tasks.training.types import Distribution

_NOW, _BEFORE, _TRAINED = "this run", "previous run", "test rows of training"


@dataclass(frozen=True)
class ScoringRun:
    """All that the page of a scoring run is made from.

    Attributes:
        parameters: What the shards were scored with.
        outcomes: One for each shard.
        statistics: What the run did.
        previous: What the run before it did, if there was one.
        trained: What the model predicted for the test rows of its training, if that is known.
        git_commit: The commit of the code.
        examples: Rejected rows by step and reason; none if none are asked for.
        trouble: Why there are fewer examples than asked for; empty if there are not.
    """

    parameters: ScoringParameters
    outcomes: Sequence[ShardOutcome]
    statistics: RunStatistics
    previous: RunStatistics | None
    trained: Distribution | None
    git_commit: str
    examples: dict[str, list[Example]]
    trouble: str = ""


def scoring_page(run: ScoringRun) -> Page:
    """Return the page of a scoring run."""
    sections = (
        *_trouble(run),
        _what_ran(run),
        Section("On what", [files_table(run.outcomes)]),
        _how_well(run),
        Section("How fast", [comparison_table(run.statistics.metrics, _earlier(run), _SPEED)]),
        _predictions(run),
        _languages(run),
        _rejects(run),
        Section("Savings", [comparison_table(run.statistics.metrics, _earlier(run), _SAVINGS)]),
    )
    started = words.moment(run.statistics.started)
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
    "rows_in", "rejected", "accuracy", "model_calls", "rows_per_second", "seconds"
)


def _key_metrics(run: ScoringRun) -> list[KeyMetric]:
    now, before = run.statistics.metrics, _earlier(run)
    return [key_metric(metric, now, before) for metric in _KEY_METRICS if metric.key in now]


def _earlier(run: ScoringRun) -> dict[str, float]:
    return run.previous.metrics if run.previous else {}


def _what_ran(run: ScoringRun) -> Section:
    parameters, rows = run.parameters, run.parameters.rows
    language = rows.language
    policy: str = language.policy
    if language.languages:
        policy += f" others than {', '.join(language.languages)} (from {language.threshold:g})"
    facts = [
        ("Pipeline", parameters.model.uri),
        ("Engine", run.statistics.engine),
        ("Output folder", str(parameters.output_dir)),
        ("Started", words.moment(run.statistics.started)),
        ("Prefect flow run", parameters.flow_run_id or words.NONE),
        ("Code", run.git_commit),
        ("Text column", rows.text_column),
        ("Label column", rows.label_column or words.NONE),
        ("Languages", policy),
        ("Prediction cache", "used" if parameters.use_cache else "not used"),
        ("Workers", f"{parameters.workers}, {words.count(parameters.shard_rows)} rows a shard"),
    ]
    return Section("What ran", [Facts(facts), *_what_changed(run)])


def _what_changed(run: ScoringRun) -> list[Block]:
    if run.previous is None:
        return [Note("No earlier run into this folder is known, so there is nothing to compare.")]
    before = run.previous
    started = words.moment(before.started)
    notes = [f"The previous run into this folder began {started}"]
    for name, was, now in (
        ("pipeline", before.model_uri, run.statistics.model_uri),
        ("engine", before.engine, run.statistics.engine),
    ):
        if was and was != now:
            notes.append(f"{name} {was}, now {now}")
    return [Note("; ".join(notes) + ".")]


def _trouble(run: ScoringRun) -> list[Section]:
    blocks: list[Block] = []
    failed = [outcome for outcome in run.outcomes if outcome.error]
    if failed:
        rows = words.things(sum(outcome.rows_failed for outcome in failed), "row")
        text = f"{words.things(len(failed), 'shard')} failed, with {rows} that are not published."
        blocks += [Note(text, warning=True), failures_table(failed)]
    if run.parameters.model.fallback:
        text = f"The pipeline was built for another engine: {run.parameters.model.fallback}."
        blocks.append(Note(text, warning=True))
    if cache_failures := run.statistics.metrics["cache_failures"]:
        failed_times = words.things(cache_failures, "time")
        text = f"The prediction cache failed {failed_times}, at a cost in speed."
        blocks.append(Note(text, warning=True))
    return [Section("What needs attention", blocks)] if blocks else []


def _how_well(run: ScoringRun) -> Section:
    if run.parameters.rows.label_column is None:
        return Section("How well", [Note("The rows have no label column: no accuracy is known.")])
    return Section("How well", [comparison_table(run.statistics.metrics, _earlier(run), _QUALITY)])


def _predictions(run: ScoringRun) -> Section:
    if not run.statistics.labels:
        return Section("Labels and scores", [Note("No row was scored.")])
    labels = {_NOW: run.statistics.labels}
    scores = {_NOW: run.statistics.scores}
    if run.previous is not None and run.previous.scores:
        labels[_BEFORE], scores[_BEFORE] = run.previous.labels, run.previous.scores
    if run.trained is not None:
        labels[_TRAINED], scores[_TRAINED] = run.trained.labels, run.trained.scores
    table = shares_table("Label", labels)
    text = "The table below has the numbers."
    pictures = Pictures(
        [
            draw("scores", "Scores", scores_as_text(scores), lambda: score_distribution(scores)),
            draw("labels", "Predicted labels", text, lambda: shares_by_name(labels)),
        ]
    )
    blocks: list[Block] = [pictures, table]
    if run.trained is None:
        blocks.append(
            Note("The training of this model left no distribution of its test rows' scores.")
        )
    return Section("Labels and scores", blocks)


def _languages(run: ScoringRun) -> Section:
    if not run.statistics.languages:
        return Section("Languages", [Note("No language was looked for.")])
    languages = {_NOW: run.statistics.languages}
    if run.previous is not None and run.previous.languages:
        languages[_BEFORE] = run.previous.languages
    return Section("Languages", [shares_table("Language", languages)])


def _rejects(run: ScoringRun) -> Section:
    if not run.statistics.reasons and not (run.previous and run.previous.reasons):
        return Section("Rejected rows", [Note("Every row was scored.")])
    blocks: list[Block] = [reasons_table(run.statistics, run.previous)]
    if run.trouble:
        blocks.append(Note(f"Not all examples are here: {run.trouble}.", warning=True))
    for reason in reasons_shown(run.statistics):
        if rows := run.examples.get(reason):
            places = [(f"{row.shard}, row {words.count(row.row)}", row.text) for row in rows]
            blocks.append(Quotes(reason, places))
    return Section("Rejected rows", blocks)
