"""The tables of a scoring run's page: files, failures and rejected rows."""

from collections.abc import Sequence

from tasks import numbers_in_words as words
from tasks.report_page import Table
from tasks.run_figures import RunFigures
from tasks.scoring_types import ShardOutcome

_MOST_ROWS = 20


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


def reasons_shown(figures: RunFigures) -> list[str]:
    """Return the reasons that most rows were rejected for."""
    return list(figures.reasons)[:_MOST_ROWS]


def reasons_table(now: RunFigures, before: RunFigures | None) -> Table:
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
