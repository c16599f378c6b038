"""Tables that put the figures of a run beside those of others."""

from collections.abc import Mapping, Sequence

from tasks import numbers_in_words as words
from tasks.report_page import Table

_MOST_ROWS = 20

# What is shown, its name among the metrics, and how it is written.
Wanted = Sequence[tuple[str, str, words.Format]]


def compared(now: Mapping[str, float], before: Mapping[str, float] | None, wanted: Wanted) -> Table:
    """Return a table of figures beside those of the previous run, with the change.

    Args:
        now: The metrics of the run.
        before: Those of the one before it, if there was one.
        wanted: What to show of them.
    """
    earlier = before or {}
    rows = []
    for name, key, form in wanted:
        new, old = now.get(key), earlier.get(key)
        rows.append(
            (name, words.shown(new, form), words.shown(old, form), words.changed(new, old, form))
        )
    return Table(("", "this run", "previous run", "change"), rows)


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
