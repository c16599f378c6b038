"""HTML report of a comparison: agreement, who is right, flips by group, rejects, and speed."""

from collections.abc import Iterator, Mapping, Sequence

import mlflow

from tasks.comparison.types import Comparison, ComparisonReport, Group, Speed
from tasks.measures.paired import (
    LEVEL,
    mcnemar_p_value,
    paired_difference,
    repeated_p_value,
)
from tasks.pages import formatting
from tasks.pages.formatting import format_or_dash, format_time
from tasks.pages.page import (
    Block,
    Facts,
    KeyMetric,
    Note,
    Page,
    Quotes,
    Section,
    Table,
    render_page,
)
from tasks.reports.row_examples import shorten_text
from tasks.reports.types import REPORT
from tasks.tracking.mlflow_client import connect, ensure_experiment, git_commit, report_url
from tasks.tracking.names import COMPARING_EXPERIMENT, RegisteredModel
from tasks.tracking.runs import killed_if_interrupted

_PRESENT, _OTHER = "present version", "other version"

_RECORD = "comparison.json"

# Metrics that the version has as tags.
_TAGS = (
    "rows",
    "agreement",
    "flips",
    "labelled",
    "accuracy_of_present",
    "accuracy_of_other",
    "p_value",
    "repeated_p_value",
)

_TAG_PREFIX = "compared_"

_MOST_ROWS = 20  # of a table; the record has all


def log_comparison(report: ComparisonReport, flow_run_id: str) -> tuple[str, str]:
    """Log a comparison to MLflow, with its record and report, and tag the other version with it.

    Returns:
        The run, and the address of the report; that is empty where MLflow has no pages.

    Raises:
        MlflowException: If MLflow cannot be reached or its database is locked.
    """
    client = connect()
    experiment, found = ensure_experiment(COMPARING_EXPERIMENT), report.comparison
    metrics = report.metrics()
    active = mlflow.start_run(
        experiment_id=experiment,
        run_name=f"{found.other.rpartition('/')[2]} beside {found.present.rpartition('/')[2]}",
        tags={
            "present_uri": found.present,
            "other_uri": found.other,
            "prefect_flow_run_id": flow_run_id,
            "git_commit": git_commit(),
        },
    )
    with killed_if_interrupted(active) as run:
        run_id = str(run.info.run_id)
        mlflow.log_metrics(metrics)
        mlflow.log_dict(report.model_dump(mode="json"), _RECORD)
        mlflow.log_text(render_page(comparison_page(report)), REPORT)
    other = RegisteredModel.from_uri(found.other)
    tags = {"compared_with": found.present, "comparison_run_id": run_id} | {
        f"{_TAG_PREFIX}{name}": f"{value:.6g}" for name, value in metrics.items() if name in _TAGS
    }
    former = client.get_model_version(other.name, str(other.version)).tags
    for name in former.keys() - tags.keys():
        if name.startswith(_TAG_PREFIX):
            client.delete_model_version_tag(other.name, str(other.version), name)
    for name, value in tags.items():
        client.set_model_version_tag(other.name, str(other.version), name, value)
    return run_id, report_url(experiment, run_id, REPORT)


def comparison_page(report: ComparisonReport) -> Page:
    """Return the page of a comparison."""
    found = report.comparison
    sections = (
        Section("What", [Facts([(_PRESENT, found.present), (_OTHER, found.other)])]),
        *_left_out(found),
        Section("Who is right", list(_labels(found))),
        Section("Flips", list(_flips(found))),
        Section("Rejected rows", [_rejects(found)]),
        *([Section("How fast", [_speeds(*report.speeds)])] if report.speeds else []),
    )
    return Page(
        kind="Comparison",
        title=f"{found.other} beside {found.present}",
        subtitle=format_time(report.compared),
        key_metrics=list(_key_metrics(found)),
        sections=sections,
    )


def _key_metrics(found: Comparison) -> Iterator[KeyMetric]:
    yield KeyMetric("Rows", formatting.count(found.rows))
    yield KeyMetric("Flips", formatting.count(found.flips))
    yield KeyMetric("Share of flips", format_or_dash(found.flip_share, formatting.percent))
    if found.labels:
        difference = 100 * paired_difference(found.labels).value
        yield KeyMetric("Accuracy", f"{difference:+.2f} points")


def _left_out(found: Comparison) -> Iterator[Section]:
    if found.left_out:
        shown = list(found.left_out.items())[:_MOST_ROWS]
        note = Note(f"{len(found.left_out)} shards are not compared.", warning=True)
        yield Section("Left out", [note, Table(("shard", "reason"), shown, text_columns=2)])


def _labels(found: Comparison) -> Iterator[Block]:
    if found.unknown_trainings:
        yield Note(
            "No label counts: a training of before logged not all texts that it used; "
            "train and build again.",
            warning=True,
        )
        return
    for rows, why in (
        (found.known, "one of both was trained or validated on their texts"),
        (found.unknown_labels, "neither version knows the label"),
        (found.repeated, "a row before has the same text"),
        (found.decided, "a look-up or a rule of one version refused them"),
    ):
        if rows:
            yield Note(f"{formatting.count(rows)} rows with a label do not count: {why}.")
    labels = found.labels
    if labels is None:
        yield Note("No row has a label that counts. --label-column names the column with labels.")
        return
    low, high = paired_difference(labels)[1:]
    yield Facts(
        [
            ("rows with a label that counts", formatting.count(labels.rows)),
            (f"accuracy of the {_PRESENT}", formatting.percent(labels.accuracy_of_present)),
            (f"accuracy of the {_OTHER}", formatting.percent(labels.accuracy_of_other)),
            (f"right with the {_PRESENT} alone", formatting.count(labels.only_present)),
            (f"right with the {_OTHER} alone", formatting.count(labels.only_other)),
            ("difference, 90 % interval", f"{100 * low:+.2f} to {100 * high:+.2f} points"),
            (
                f"the {_OTHER} is better: exact test of McNemar",
                f"p = {mcnemar_p_value(labels):.3g}; shown if below {LEVEL}",
            ),
            (
                "the same, however often the comparison is repeated",
                f"p = {repeated_p_value(labels):.3g}; shown if below {LEVEL}",
            ),
        ]
    )


def _flips(found: Comparison) -> Iterator[Block]:
    pairs = [
        (present, other, formatting.count(rows))
        for present, others in found.pairs.items()
        for other, rows in others.items()
    ]
    pairs.sort(key=lambda row: -int(row[2].replace(",", "")))
    if not pairs:
        yield Note("Both versions answer every row with the same label.")
        return
    yield Table((_PRESENT, _OTHER, "rows"), pairs[:_MOST_ROWS], text_columns=2)
    languages = sorted(found.by_language.items(), key=lambda group: -group[1].rows)
    for name, groups in (
        ("language", dict(languages)),
        ("characters", found.by_length),
        (f"score of the {_PRESENT}", found.by_score),
        *([("day", found.by_night)] if len(found.by_night) > 1 else []),
    ):
        yield _groups(name, groups)
    for flip in found.examples:
        labels = f"{flip.present[0]} {flip.present[1]:.3f} → {flip.other[0]} {flip.other[1]:.3f}"
        truth = f", labelled {flip.truth}" if flip.truth else ""
        yield Quotes(
            f"{labels}{truth}", [(f"{flip.shard}, row {flip.row}", shorten_text(flip.text))]
        )


def _groups(name: str, groups: Mapping[str, Group]) -> Table:
    rows: Sequence[tuple[str, ...]] = [
        (
            group,
            formatting.count(counts.rows),
            formatting.count(counts.flips),
            formatting.percent(counts.flips / counts.rows),
        )
        for group, counts in groups.items()
    ]
    return Table((name, "rows", "flips", "share"), rows[:_MOST_ROWS])


def _rejects(found: Comparison) -> Block:
    rejects = found.rejects
    rows = [("both", "", formatting.count(rejects.both))]
    sides = ((_PRESENT, rejects.only_present), (_OTHER, rejects.only_other))
    rows += [
        (f"the {side} alone", reason, formatting.count(count))
        for side, reasons in sides
        for reason, count in list(reasons.items())[:_MOST_ROWS]
    ]
    return Table(("rejected by", "reason", "rows"), rows, text_columns=2)


def _speeds(present: Speed, other: Speed) -> Block:
    rows = [
        (name, formatter(getattr(present, key)), formatter(getattr(other, key)))
        for name, key, formatter in (
            ("rows a second, without the cache", "rows_per_second", formatting.speed),
            ("95 of 100 batches of 32 texts, ms", "batch_p95_ms", lambda value: f"{value:.1f}"),
            ("memory at most, MiB", "peak_mib", formatting.count),
        )
    ]
    return Table(("", _PRESENT, _OTHER), rows)
