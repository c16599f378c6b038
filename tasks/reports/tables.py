"""Tables of a report: metrics of two runs, label shares, files, failures, rejection reasons."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tasks.pages import formatting
from tasks.pages.formatting import format_change, format_or_dash, share
from tasks.pages.page import KeyMetric, Table
from tasks.reports.types import Metric, RunStatistics
from tasks.scoring.types import ShardOutcome

_MAX_ROWS = 20


def comparison_table(
    now: Mapping[str, float], before: Mapping[str, float] | None, metrics: Iterable[Metric]
) -> Table:
    """Return a table of metrics beside those of the previous run, with the change.

    Args:
        now: Values of the run.
        before: Values of the run before it, if there was one.
        metrics: The rows of the table.
    """
    rows = []
    for name, key, formatter in metrics:
        new, old = now.get(key), (before or {}).get(key)
        values = (format_or_dash(value, formatter) for value in (new, old))
        rows.append((name, *values, format_change(new, old, formatter)))
    return Table(("", "this run", "previous run", "change"), rows)


def arms_rows(
    arms: Mapping[str, Mapping[str, Any]], metrics: Iterable[Metric]
) -> list[tuple[str, ...]]:
    """Return the rows of a table of metrics, with a column for each arm of a split.

    A metric that no arm has gets no row.

    Args:
        arms: The fields of each arm in the summary of a run, by its name.
        metrics: The rows of the table.
    """
    return [
        (name, *(format_or_dash(arm.get(key), formatter) for arm in arms.values()))
        for name, key, formatter in metrics
        if any(key in arm for arm in arms.values())
    ]


def key_metric(metric: Metric, now: Mapping[str, float], before: Mapping[str, float]) -> KeyMetric:
    """Return a metric for the top of a page, with its previous value if there is one."""
    note = f"before: {format_or_dash(before.get(metric.key), metric.formatter)}" if before else ""
    return KeyMetric(metric.name, format_or_dash(now.get(metric.key), metric.formatter), note)


def shares_table(what: str, series: Mapping[str, Mapping[str, int]]) -> Table:
    """Return a table of labels or languages: their rows and shares, and shares in other runs.

    Args:
        what: Title of the first column.
        series: Rows by label or language; the first series is this run.
    """
    (this, now), *others = series.items()
    names = list(dict.fromkeys(name for rows in series.values() for name in rows))
    header = [what, f"rows, {this}", f"share, {this}"]
    for other, _ in others:
        header += [f"share, {other}", "difference"]
    rows = []
    for name in names[:_MAX_ROWS]:
        part = formatting.share(now.get(name, 0), sum(now.values()))
        cells = [name, formatting.count(now.get(name, 0)), format_or_dash(part, formatting.percent)]
        for _, counts in others:
            before = formatting.share(counts.get(name, 0), sum(counts.values()))
            cells += [
                format_or_dash(before, formatting.percent),
                format_change(part, before, formatting.percent),
            ]
        rows.append(cells)
    if (more := len(names) - _MAX_ROWS) > 0:
        rows.append([f"and {formatting.count(more)} more", *[""] * (len(header) - 1)])
    return Table(header, rows)


def labels_table(counts: pd.DataFrame) -> Table:
    """Return a table of precision, recall and F1 of each label; of many, the lowest F1 first.

    Args:
        counts: Rows are the true labels, columns the predicted ones.
    """
    cells = counts.to_numpy()
    right, true, predicted = cells.diagonal(), cells.sum(axis=1), cells.sum(axis=0)
    f1 = [share(2 * right[place], true[place] + predicted[place]) for place in range(len(counts))]
    places = list(range(len(counts)))
    if len(counts) > _MAX_ROWS:
        places = sorted(places, key=lambda place: f1[place] or 0.0)[:_MAX_ROWS]
    rows = [
        (
            str(counts.index[place]),
            formatting.count(int(true[place])),
            format_or_dash(share(right[place], predicted[place]), formatting.percent),
            format_or_dash(share(right[place], true[place]), formatting.percent),
            format_or_dash(f1[place], formatting.decimal),
        )
        for place in places
    ]
    if (more := len(counts) - len(rows)) > 0:
        rows.append((f"and {formatting.count(more)} more, of higher F1", "", "", "", ""))
    return Table(("Label", "test rows", "precision", "recall", "F1"), rows)


def confusions_table(counts: pd.DataFrame) -> Table:
    """Return a table of the pairs of labels that are taken for each other most often.

    Args:
        counts: Rows are the true labels, columns the predicted ones.
    """
    cells = counts.to_numpy()
    wrong = [
        (int(cells[true, predicted]), true, predicted)
        for true, predicted in np.argwhere(cells)
        if true != predicted
    ]
    rows = [
        (
            str(counts.index[true]),
            str(counts.columns[predicted]),
            formatting.count(number),
            formatting.percent(number / cells[true].sum()),
        )
        for number, true, predicted in sorted(wrong, key=lambda pair: -pair[0])[:_MAX_ROWS]
    ]
    if (more := len(wrong) - _MAX_ROWS) > 0:
        rows.append((f"and {formatting.count(more)} more pairs", "", "", ""))
    header = ("True label", "predicted", "rows", "of the label's rows")
    return Table(header, rows, text_columns=2)


def files_table(outcomes: Sequence[ShardOutcome]) -> Table:
    """Return a table of the input files: their rows and shards by outcome."""
    files: dict[str, list[ShardOutcome]] = {}
    for outcome in outcomes:
        files.setdefault(outcome.file_id, []).append(outcome)
    rows = [_file_row(shards[0].source, shards) for shards in list(files.values())[:_MAX_ROWS]]
    if (more := len(files) - _MAX_ROWS) > 0:
        rest = [shard for shards in list(files.values())[_MAX_ROWS:] for shard in shards]
        rows.append(_file_row(f"and {formatting.count(more)} more", rest))
    if len(files) > 1:
        rows.append(_file_row(f"all {formatting.count(len(files))} files", outcomes))
    return Table(("File", "rows", "scored", "rejected", "shards", "done before", "failed"), rows)


def _file_row(name: str, outcomes: Sequence[ShardOutcome]) -> tuple[str, ...]:
    counts = [outcome.record.counts for outcome in outcomes if outcome.record is not None]
    numbers = (
        sum(count.rows_in for count in counts) + sum(outcome.rows_failed for outcome in outcomes),
        sum(count.scored for count in counts),
        sum(count.rejected for count in counts),
        len(outcomes),
        sum(outcome.skipped for outcome in outcomes),
        sum(bool(outcome.error) for outcome in outcomes),
    )
    return (name, *map(formatting.count, numbers))


def failures_table(failed: Sequence[ShardOutcome]) -> Table:
    """Return a table of the failed shards with their errors."""
    rows = [(outcome.id, outcome.error) for outcome in failed[:_MAX_ROWS]]
    if (more := len(failed) - _MAX_ROWS) > 0:
        rows.append((f"and {formatting.count(more)} more", "the manifest has them all"))
    return Table(("Shard", "why"), rows, text_columns=2)


def top_reasons(statistics: RunStatistics) -> list[str]:
    """Return the most frequent reasons of rejection."""
    return list(statistics.reasons)[:_MAX_ROWS]


def reasons_table(now: RunStatistics, before: RunStatistics | None) -> Table:
    """Return a table of rejected rows by step and reason."""
    earlier = before.reasons if before else {}
    names = list(dict.fromkeys([*top_reasons(now), *list(earlier)[:_MAX_ROWS]]))
    rows = []
    for name in names:
        step, _, reason = name.partition(": ")
        old = formatting.count(earlier.get(name, 0)) if before else formatting.DASH
        part = formatting.share(now.reasons.get(name, 0), now.metrics["rows_in"])
        new = formatting.count(now.reasons.get(name, 0))
        rows.append((step, reason, new, format_or_dash(part, formatting.percent), old))
    if (more := len(now.reasons) - _MAX_ROWS) > 0:
        rows.append(("", f"and {formatting.count(more)} more reasons", "", "", ""))
    return Table(("Step", "reason", "rows", "of all rows", "previous run"), rows, text_columns=2)
