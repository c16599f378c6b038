"""Tables and plot of the results, as Markdown and SVG."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.learning.measured import TOLERANCE, Followed, Poisoning, Results, Update
from benchmarks.learning.stream import IMDB, PARTS, RELABELLED, SNIPPETS, WORD
from benchmarks.tables import NOTHING, shown, table
from tasks.tracking.names import CHAMPION

_SWITCHES = PARTS[1:]


def write_report(results: Results, folder: Path, name: str) -> None:
    """Write results, tables and plot into a folder.

    Args:
        results: The results.
        folder: The folder.
        name: Of the files, without suffix.
    """
    results.write(folder / f"{name}.json")
    # Without a date, equal results give equal files.
    _plot(results).savefig(folder / f"{name}.svg", metadata={"Date": None})
    lines = "\n".join(_lines(results, name)) + "\n"
    (folder / f"{name}.md").write_text(lines, encoding="utf-8")


def _lines(results: Results, name: str) -> Iterator[str]:
    yield f"# Learning from a stream of labels, with the base model {results.base_model}\n"
    yield f"Written by `make learn-bench`; all of it is made of `{name}.json` beside it.\n"
    if results.quick:
        yield "**A quick run: it shows that the benchmark works; its figures mean nothing.**\n"
    took = ("the run took", f"{results.seconds / 60:.1f} min")
    yield from table(("machine", ""), [*results.machine.described(), took])
    yield from _stream(results)
    yield f"\n![Accuracy before each batch, and on snippets after it]({name}.svg)"
    yield from _prequential(results)
    yield from _fixed(results)
    yield from _recovery(results)
    yield from _speed(results)
    yield from _poisoned(results)
    yield from _decisions(results)


def _stream(results: Results) -> Iterator[str]:
    yield "\n## The stream\n"
    yield (
        f"The first champion is trained on {results.training_rows:,} snippets, a fifth of which "
        "validate and test. Then labels come in batches. A head refit learns half of them, and "
        "measures with the other half; an escalation trains all weights on if its gate refuses "
        "the head; a full retraining splits them as it does all rows, and "
        "learns four of five. `doing nothing` keeps the first champion. The gates are those of "
        "the flows.\n"
    )
    yield (
        f"In the relabelled part a review that says “{WORD}” has the other label: "
        f"{shown(results.relabelled, '%')} of its rows, of which "
        f"{shown(results.relabelled_positive, '%')} are positive since. A linear head can learn "
        "that the word means the opposite now, but not that all other words of such a review do.\n"
    )
    steps = results.strategies[0]
    rows = [(part, *_batches(steps, part)) for part in PARTS]
    yield from table(("part", "batches", "labels"), rows)


def _batches(followed: Followed, part: str) -> tuple[str, str]:
    steps = followed.steps_of(part)
    return str(len(steps)), f"{sum(step.labels for step in steps):,}"


def _prequential(results: Results) -> Iterator[str]:
    yield "\n## Accuracy before learning\n"
    yield "Each batch is answered by the version that is champion, and learnt then.\n"
    rows = (
        (s.name, *(shown(s.accuracy_of(part), "%") for part in PARTS), _overall(s))
        for s in results.strategies
    )
    yield from table(("strategy", *PARTS, "all"), rows)


def _overall(followed: Followed) -> str:
    return shown(followed.accuracy_of(*PARTS), "%")


def _fixed(results: Results) -> Iterator[str]:
    yield "\n## Accuracy of the champion at the end of each part\n"
    yield (
        f"On {results.fixed_rows:,} rows of each kind that are never learnt. That on snippets is "
        "what is retained.\n"
    )
    header = ("strategy", "rows", "at the start", *(f"after {part}" for part in PARTS))
    rows = (
        (followed.name, kind, *(shown(value, "%") for value in _ends(results, followed, kind)))
        for kind in (SNIPPETS, IMDB, RELABELLED)
        for followed in results.strategies
    )
    yield from table(header, rows)


def _ends(results: Results, followed: Followed, kind: str) -> Iterator[float]:
    found = results.accuracies(followed, kind)
    yield found[0]
    for end in accumulate(len(followed.steps_of(part)) for part in PARTS):
        yield found[end]


def _recovery(results: Results) -> Iterator[str]:
    yield "\n## Labels until recovery\n"
    yield (
        "Labels of a part after which the accuracy on its fixed rows is at most "
        f"{100 * TOLERANCE:g} points below the best that any strategy has in the part; 0 if it was "
        f"so before, {NOTHING} if it is never so.\n"
    )
    rows = (
        (s.name, *(shown(results.labels_until_recovery(s, part)) for part in _SWITCHES))
        for s in results.strategies
    )
    yield from table(("strategy", *(f"turn to {part}" for part in _SWITCHES)), rows)


def _speed(results: Results) -> Iterator[str]:
    yield "\n## From a file of feedback to the decision\n"
    yield (
        "By the clock around the commands, with their imports and a Prefect server of each; a full "
        "retraining is two commands.\n"
    )
    header = ("strategy", "updates", "became champion", "median", "longest")
    rows = [(s.name, *_seconds(s.updates())) for s in results.strategies if s.updates()]
    yield from table(header, rows)


def _seconds(updates: Sequence[Update]) -> tuple[str, ...]:
    seconds = [update.seconds for update in updates]
    promoted = sum(update.alias == CHAMPION for update in updates)
    return (str(len(updates)), str(promoted), shown(median(seconds), "s"), shown(max(seconds), "s"))


def _poisoned(results: Results) -> Iterator[str]:
    yield "\n## Poisoned feedback\n"
    yield (
        "The first champion learns labels of IMDB, a share of which one person gave, always "
        "wrongly; sixty others gave the rest. The cap is `--max-share-by`. Half of what it leaves "
        "measures, and is poisoned as well. The accuracies are those of the version that learnt, "
        "whether it became champion or not, on the fixed rows.\n"
    )
    header = (
        *("poisoned", "cap", "labels", "left out by the cap", "of them poisoned", "alias"),
        *("accuracy on imdb", "on snippets"),
    )
    before = ("nothing learnt", *[NOTHING] * 5, *_beside(results.start))
    yield from table(header, [before, *map(_poisoning, results.poisonings)])


def _poisoning(found: Poisoning) -> tuple[str, ...]:
    return (
        f"{found.share:.0%}",
        NOTHING if found.max_share_by == 1 else shown(found.max_share_by),
        f"{found.labels:,}",
        str(found.capped),
        str(found.capped_poisoned),
        found.update.alias or NOTHING,
        *_beside(found.accuracies),
    )


def _beside(accuracies: dict[str, float]) -> tuple[str, str]:
    return shown(accuracies[IMDB], "%"), shown(accuracies[SNIPPETS], "%")


def _decisions(results: Results) -> Iterator[str]:
    yield "\n## What the gates decided\n"
    header = ("batch", "strategy", "seconds", "alias", "reason")
    rows = [
        (f"{number}: {step.part}", followed.name, *_decision(step.update))
        for followed in results.strategies
        for number, step in enumerate(followed.steps, start=1)
        if step.update
    ] + [
        (
            f"poisoned {found.share:.0%}",
            f"head refit, cap {shown(found.max_share_by)}",
            *_decision(found.update),
        )
        for found in results.poisonings
    ]
    yield from table(header, rows)


def _decision(update: Update) -> tuple[str, str, str]:
    return shown(update.seconds), update.alias or NOTHING, update.reason


def _plot(results: Results) -> Figure:
    figure = Figure(figsize=(10, 8), layout="constrained")
    before, after = figure.subplots(2, 1, sharex=True)
    for followed in results.strategies:
        numbers = range(1, len(followed.steps) + 1)
        before.plot(
            numbers, [step.accuracy for step in followed.steps], marker="o", label=followed.name
        )
        (line,) = after.plot(range(len(followed.steps) + 1), results.accuracies(followed, SNIPPETS))
        promoted = [
            (number, step.accuracies[SNIPPETS])
            for number, step in zip(numbers, followed.steps, strict=True)
            if step.update and step.update.alias == CHAMPION
        ]
        after.scatter(
            *zip(*promoted, strict=True) if promoted else ((), ()), color=line.get_color()
        )
    before.set(title="Batches, before they are learnt", ylabel="accuracy")
    after.set(
        title="Fixed snippets, after each batch; a dot is a new champion",
        xlabel="batch",
        ylabel="accuracy",
    )
    for axes in (before, after):
        _mark_parts(axes, results.strategies[0])
    before.legend()
    return figure


def _mark_parts(axes: Axes, followed: Followed) -> None:
    starts = [0, *accumulate(len(followed.steps_of(part)) for part in PARTS)]
    for part, begin in zip(PARTS, starts, strict=False):
        axes.axvline(begin + 0.5, color="tab:gray", linewidth=0.8)
        axes.annotate(part, (begin + 0.6, 0.02), xycoords=("data", "axes fraction"), color="gray")
