"""Tables of a report: metrics beside those of other runs, shares, files, failures, rejects."""

from collections.abc import Iterable, Mapping, Sequence

from tasks.reports import formatting as words
from tasks.reports.page import KeyMetric, Table
from tasks.reports.types import Metric, RunStatistics
from tasks.scoring.types import ShardOutcome

_MOST_ROWS = 20


def comparison_table(
    now: Mapping[str, float], before: Mapping[str, float] | None, metrics: Iterable[Metric]
) -> Table:
    """Return a table of metrics beside those of the previous run, with the change.

    Args:
        now: The values of the run.
        before: Those of the one before it, if there was one.
        metrics: What to show of them.
    """
    rows = []
    for name, key, form in metrics:
        new, old = now.get(key), (before or {}).get(key)
        rows.append(
            (name, words.shown(new, form), words.shown(old, form), words.changed(new, old, form))
        )
    return Table(("", "this run", "previous run", "change"), rows)


def key_metric(metric: Metric, now: Mapping[str, float], before: Mapping[str, float]) -> KeyMetric:
    """Return a metric for the top of a page, with its value of the run before, if there was one."""
    note = f"before: {words.shown(before.get(metric.key), metric.form)}" if before else ""
    return KeyMetric(metric.name, words.shown(now.get(metric.key), metric.form), note)


def shares_table(what: str, series: Mapping[str, Mapping[str, int]]) -> Table:
    """Return a table of labels or languages: rows and their share, beside those of other rows.

    Args:
        what: What is counted.
        series: Rows by label or language; the first series is this run.
    """
    (this, now), *others = series.items()
    names = list(dict.fromkeys(name for rows in series.values() for name in rows))
    header = [what, f"rows, {this}", f"share, {this}"]
    for other, _ in others:
        header += [f"share, {other}", "difference"]
    rows = []
    for name in names[:_MOST_ROWS]:
        part = words.share(now.get(name, 0), sum(now.values()))
        cells = [name, words.count(now.get(name, 0)), words.shown(part, words.percent)]
        for _, counts in others:
            before = words.share(counts.get(name, 0), sum(counts.values()))
            cells += [
                words.shown(before, words.percent),
                words.changed(part, before, words.percent),
            ]
        rows.append(cells)
    if (more := len(names) - _MOST_ROWS) > 0:
        rows.append([f"and {words.count(more)} more", *[""] * (len(header) - 1)])
    return Table(header, rows)


def files_table(outcomes: Sequence[ShardOutcome]) -> Table:
    """Return a table of the files: their shards, rows, and what became of them."""
    files: dict[str, list[ShardOutcome]] = {}
    for outcome in outcomes:
        files.setdefault(outcome.file_id, []).append(outcome)
    rows = [_file_row(shards[0].source, shards) for shards in list(files.values())[:_MOST_ROWS]]
    if (more := len(files) - _MOST_ROWS) > 0:
        rest = [shard for shards in list(files.values())[_MOST_ROWS:] for shard in shards]
        rows.append(_file_row(f"and {words.count(more)} more", rest))
    if len(files) > 1:
        rows.append(_file_row(f"all {words.count(len(files))} files", outcomes))
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
    return (name, *map(words.count, numbers))


def failures_table(failed: Sequence[ShardOutcome]) -> Table:
    """Return a table of the shards that failed, and why."""
    rows = [(outcome.id, outcome.error) for outcome in failed[:_MOST_ROWS]]
    if (more := len(failed) - _MOST_ROWS) > 0:
        rows.append((f"and {words.count(more)} more", "the manifest has them all"))
    return Table(("Shard", "why"), rows, words=2)


def reasons_shown(statistics: RunStatistics) -> list[str]:
    """Return the reasons that most rows were rejected for."""
    return list(statistics.reasons)[:_MOST_ROWS]


def reasons_table(now: RunStatistics, before: RunStatistics | None) -> Table:
    """Return a table of rejected rows by step and reason."""
    earlier = before.reasons if before else {}
    names = list(dict.fromkeys([*reasons_shown(now), *list(earlier)[:_MOST_ROWS]]))
    rows = []
    for name in names:
        step, _, reason = name.partition(": ")
        old = words.count(earlier.get(name, 0)) if before else words.NONE
        part = words.share(now.reasons.get(name, 0), now.metrics["rows_in"])
        new = words.count(now.reasons.get(name, 0))
        rows.append((step, reason, new, words.shown(part, words.percent), old))
    if (more := len(now.reasons) - _MOST_ROWS) > 0:
        rows.append(("", f"and {words.count(more)} more reasons", "", "", ""))
    return Table(("Step", "reason", "rows", "of all rows", "previous run"), rows, words=2)
