"""HTML report of a learning from feedback: labels, running accuracy, the gate, and what to do."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tasks.feedback.prequential import WINDOW
from tasks.feedback.types import AccuracyWindow
from tasks.measures.paired import LEVEL, MARGIN
from tasks.pages import formatting
from tasks.pages.formatting import format_change, format_count_of, format_or_dash, format_time
from tasks.pages.page import (
    Block,
    Facts,
    KeyMetric,
    Note,
    Page,
    Plots,
    Section,
    Table,
)
from tasks.pages.plots import MOST_SERIES, RunningAccuracy, draw_plot, plot_running_accuracy
from tasks.promotion.types import GroupAccuracy, LearntGate
from tasks.reports.types import LearningRun
from tasks.tracking.names import CHAMPION

_MOST_ROWS = 20  # of a table; the record has all

_LEFT_OUT = {
    "duplicates": "say again what another says",
    "overruled": "older than another label of the text",
    "set_aside": "the text has several labels",
    "capped": "too many by one person",
}


class LearningFigures(NamedTuple):
    """What is measured at the end of a run that took in feedback.

    Attributes:
        accuracies: Of each version, by its URI, in windows of labels; the oldest version first.
        known: Labels that test no answer: their texts had been learnt before.
        unchecked: Versions of which it is not known what they had learnt.
        gate: What decided about the version that learnt; None if none was judged.
    """

    accuracies: Mapping[str, tuple[AccuracyWindow, ...]]
    known: int
    unchecked: tuple[str, ...]
    gate: LearntGate | None


def learning_page(run: LearningRun, figures: LearningFigures) -> Page:
    """Return the page of a learning; it has no text of a row."""
    sections = (
        Section("What came of it", list(_outcome(run))),
        Section("Taken in", list(_taken(run))),
        Section("Labels that count", list(_labels(run))),
        Section("Running accuracy", list(_accuracies(figures))),
        *([Section("The gate", list(_gate(figures.gate)))] if figures.gate else []),
    )
    return Page(
        kind="Learning report",
        title=f"Feedback on {run.champion.uri}",
        subtitle=format_time(run.started),
        key_metrics=list(_key_metrics(run, figures)),
        sections=sections,
    )


def _key_metrics(run: LearningRun, figures: LearningFigures) -> Iterator[KeyMetric]:
    yield KeyMetric("Taken in", formatting.count(run.collected.taken))
    yield KeyMetric(
        "Labels that count",
        formatting.count(run.chosen.labels),
        f"{formatting.count(run.chosen.held_out)} of them measure",
    )
    if windows := figures.accuracies.get(run.champion.uri):
        last = windows[-1]
        yield KeyMetric(
            "Accuracy of the champion",
            formatting.percent(last.accuracy_so_far),
            f"{formatting.percent(last.accuracy)} of the last {formatting.count(last.labels)}",
        )
    if gate := figures.gate:
        for name, group in (("Held-out feedback", gate.feedback), ("Old test rows", gate.test)):
            change = format_change(group.learnt, group.champion, formatting.percent)
            yield KeyMetric(name, change, "beside the champion")


def _outcome(run: LearningRun) -> Iterator[Block]:
    learnt = run.learnt
    if learnt is None:
        command = "python -m flows.learn_from_feedback, when there are more labels; without "
        command += "--when-needed it learns whatever the answers are"
        yield Facts(
            [("learnt", "nothing"), ("because", run.reason), ("what to type next", command)]
        )
        return
    number = learnt.pipeline.version
    is_champion = learnt.decision.alias == CHAMPION
    command = f"python -m flows.promote_pipeline --version {'previous' if is_champion else number}"
    effect = "goes back to the champion before" if is_champion else "promotes it all the same"
    yield Facts(
        [
            ("learnt", learnt.pipeline.uri),
            *((f"inside, {name}", version.uri) for name, version in learnt.members.items()),
            ("it is", learnt.decision.alias or "without an alias"),
            ("because", run.reason),
            ("what to type next", f"{command}, which {effect}"),
        ]
    )


def _taken(run: LearningRun) -> Iterator[Block]:
    found = run.collected
    yield Facts(
        [
            ("new labels", formatting.count(found.taken)),
            ("labels that were there already", formatting.count(found.duplicates)),
            ("batch", found.batch or "none"),
        ]
    )
    if found.unreadable:
        yield Note(
            f"{format_count_of(len(found.unreadable), 'file')} cannot be read.", warning=True
        )
        shown = list(found.unreadable.items())[:_MOST_ROWS]
        yield Table(("file or table", "reason"), shown, text_columns=2)
    if found.refused:
        reasons = sorted(found.refused.items(), key=lambda reason: -reason[1])[:_MOST_ROWS]
        rows = [(reason, formatting.count(number)) for reason, number in reasons]
        yield Table(("refused because", "rows"), rows)
        files = list(found.refused_files.items())[:_MOST_ROWS]
        yield Table(("file or table", "its refused rows are in"), files, text_columns=2)


def _labels(run: LearningRun) -> Iterator[Block]:
    chosen = run.chosen
    learnt = [
        (f"are learnt by {name}", formatting.count(member.labels))
        for name, member in chosen.members.items()
    ]
    yield Facts(
        [
            ("count", formatting.count(chosen.labels)),
            *learnt,
            ("measure, and are never learnt", formatting.count(chosen.held_out)),
            ("of no member of today", formatting.count(chosen.undecided)),
            ("unknown to the member that decided", formatting.count(chosen.unknown_to_member)),
        ]
    )
    left_out = [
        (_LEFT_OUT[name], formatting.count(number))
        for name, number in chosen.left_out.model_dump().items()
        if number
    ]
    if left_out:
        yield Table(("do not count, since they are", "labels"), left_out)


def _accuracies(figures: LearningFigures) -> Iterator[Block]:
    yield Note(
        "Each label first tests the answer that was given before it. Thin steps are windows of "
        f"{WINDOW} labels, lines all labels of the version so far."
    )
    if figures.known:
        what = format_count_of(figures.known, "label")
        yield Note(f"{what} left out: the version that answered had learnt their texts.")
    if figures.unchecked:
        names = ", ".join(figures.unchecked)
        yield Note(f"It is not known which texts these had learnt: {names}.", warning=True)
    if not figures.accuracies:
        yield Note("No label tests an answer yet.")
        return
    latest = list(figures.accuracies.items())[-_MOST_ROWS:]
    series = {
        f"version {uri.rpartition('/')[2]}": RunningAccuracy(
            [window.labels_so_far for window in windows],
            [window.accuracy for window in windows],
            [window.accuracy_so_far for window in windows],
        )
        for uri, windows in latest[-MOST_SERIES:]
    }
    shares = (f"{name}: {formatting.percent(found.so_far[-1])}" for name, found in series.items())
    alt_text = f"Running accuracy on labels of feedback. {'; '.join(shares)}."
    title = "Accuracy, label after label"
    yield Plots([draw_plot("running", title, alt_text, plot_running_accuracy, series)])
    rows = [
        (
            uri,
            format_time(windows[0].first),
            format_time(windows[-1].last),
            formatting.count(windows[-1].labels_so_far),
            formatting.percent(windows[-1].accuracy_so_far),
            formatting.percent(windows[-1].accuracy),
        )
        for uri, windows in latest
    ]
    header = ("version", "first label", "last label", "labels", "accuracy", "in the last window")
    yield Table(header, rows, text_columns=3)


def _gate(gate: LearntGate) -> Iterator[Block]:
    groups = (
        ("old test rows", gate.test, f"at most {100 * MARGIN:g} points less"),
        ("held-out feedback", gate.feedback, f"better: p = {gate.p_value:.3g}, below {LEVEL}"),
    )
    yield Table(
        ("rows that are new to both", "expected", "rows", "champion", "learnt", "change"),
        [(name, expected, *_cells(group)) for name, group, expected in groups],
        text_columns=2,
    )
    yield Table(
        ("held-out feedback of", "rows", "champion", "learnt", "change"),
        [(name, *_cells(group)) for name, group in list(gate.batches.items())[-_MOST_ROWS:]],
    )


def _cells(group: GroupAccuracy) -> tuple[str, ...]:
    return (
        formatting.count(group.rows),
        format_or_dash(group.champion, formatting.percent),
        format_or_dash(group.learnt, formatting.percent),
        format_change(group.learnt, group.champion, formatting.percent),
    )
