"""HTML report of a training run: parameters, data, test metrics, plots, speed."""

import logging
from collections.abc import Mapping

import pandas as pd

from tasks.dataset.types import Split
from tasks.measures.evaluation_plots import (
    MOST_CURVES,
    MOST_LABELS,
    plot_confusion_matrix,
    plot_loss_curve,
    plot_reliability,
    plot_roc_curves,
)
from tasks.pages import formatting
from tasks.pages.formatting import decimal, format_count_of, format_or_dash, format_time
from tasks.pages.page import (
    Block,
    Facts,
    KeyMetric,
    Note,
    Page,
    Plot,
    Plots,
    Section,
    plot_errors,
    render_page,
)
from tasks.pages.plots import describe_scores, draw_plot, plot_score_distribution
from tasks.reports.history import TrainingRun, read_training
from tasks.reports.tables import (
    comparison_table,
    confusions_table,
    key_metric,
    labels_table,
    shares_table,
)
from tasks.reports.types import KEY_METRICS, REPORT, TEST_METRICS, LoggedReport, Metric
from tasks.tracking.mlflow_client import (
    connect,
    has_artifact,
    missing_file_reason,
    report_url,
    run_start_time,
)
from tasks.training.types import TEMPERATURE, in_words

logger = logging.getLogger(__name__)

_SPEED = (
    Metric("Duration of fine-tuning", "train_seconds", formatting.seconds),
    Metric("Rows a second, each epoch's counted", "train_rows_per_second", formatting.speed),
)

_PARAMETERS = (
    "base_model",
    "strategy",
    "epochs",
    "min_steps",
    "batch_size",
    "learning_rate",
    "class_weights",
    "max_tokens",
    "sample_size",
    "seed",
    "bf16",
)


def log_training_report(run_id: str) -> LoggedReport:
    """Log the report of a training run, once.

    Raises:
        MlflowException: If MLflow cannot be reached.
    """
    training = read_training(run_id)
    error, made = "", has_artifact(run_id, REPORT)
    if not made:
        try:
            page = training_page(training)
            connect().log_text(run_id, render_page(page), REPORT)
            error, made = "; ".join(plot_errors(page)), True
        except Exception as caught:  # noqa: BLE001 -- the training goes on without its page
            error = missing_file_reason(caught)
    if error:
        logger.warning("report: %s", error)
    return LoggedReport(
        run_id=run_id,
        url=report_url(training.run.info.experiment_id, run_id, REPORT) if made else "",
        error=error,
        metrics=training.run.data.metrics,
        previous=_previous_metrics(training),
        advice=training.advice,
    )


def training_page(training: TrainingRun) -> Page:
    """Return the page of a training run."""
    run = training.run
    parameters = run.data.params
    sections = (
        _run_section(training),
        _data_section(training),
        _quality_section(training),
        _predictions_section(training),
        _speed_section(training),
    )
    return Page(
        kind="Training report",
        title=run.info.run_name or run.info.run_id,
        subtitle=(
            f"{format_time(run_start_time(run))} · {parameters.get('base_model', '')} · "
            f"{parameters.get('source', '')}"
        ),
        key_metrics=_key_metrics(training),
        sections=sections,
    )


def _previous_metrics(training: TrainingRun) -> dict[str, float]:
    return dict(training.previous.data.metrics) if training.previous else {}


def _key_metrics(training: TrainingRun) -> list[KeyMetric]:
    before, now = _previous_metrics(training), training.run.data.metrics
    metrics = [key_metric(metric, now, before) for metric in KEY_METRICS]
    if training.train_rows is not None:
        metrics.append(KeyMetric("Rows trained on", formatting.count(training.train_rows)))
    return metrics


def _run_section(training: TrainingRun) -> Section:
    run = training.run
    facts = [
        ("MLflow run", run.info.run_id),
        ("Started", format_time(run_start_time(run))),
        ("Code", run.data.tags.get("git_commit", formatting.DASH)),
        ("Model", run.data.tags.get("model_uri", formatting.DASH)),
    ]
    facts += [
        (name.replace("_", " ").capitalize(), in_words(name, run.data.params[name]))
        for name in _PARAMETERS
        if name in run.data.params
    ]
    return Section("What ran", [Facts(facts), Note(_describe_changes(training))])


def _describe_changes(training: TrainingRun) -> str:
    before, now = training.previous, training.run
    if before is None:
        return (
            "No earlier training with this data source, these labels and this family of models is "
            "known, so there is nothing to compare."
        )
    parts = [
        f"The training before, {before.info.run_name}, began {format_time(run_start_time(before))}"
    ]
    parts += [
        f"{name.replace('_', ' ')} {before.data.params[name]}, now {now.data.params.get(name)}"
        for name in ("source", *_PARAMETERS)
        if before.data.params.get(name, "") != now.data.params.get(name, "")
        and name in before.data.params
    ]
    if before.data.tags.get("data_digest") != now.data.tags.get("data_digest"):
        parts.append("its data were others, so that the test figures are of other rows")
    elif _split_name(training.split) != _split_name(training.previous_split):
        parts.append("its split was another, so that the test figures are of other rows")
    return "; ".join(parts) + "."


def _split_name(split: Split | None) -> str:
    """Return the name of a split's folder, which differs with the rows and with the fractions."""
    return split.folder.name if split else ""


def _data_section(training: TrainingRun) -> Section:
    split, tags = training.split, training.run.data.tags
    facts = [
        ("Source", training.run.data.params.get("source", formatting.DASH)),
        ("SHA-256 of the rows", tags.get("data_digest", formatting.DASH)),
    ]
    if split is None:
        return Section("Data", [Facts(facts)])
    found = split.distributions
    quantiles = ", ".join(f"{name} {value:g}" for name, value in found.get("words", {}).items())
    facts.append(("Words in a row", quantiles or formatting.DASH))
    parts = ", ".join(f"{name} {formatting.count(rows)}" for name, rows in split.rows.items())
    facts.append(("Rows", parts))
    if training.train_rows is not None:
        facts.append(("Trained on", f"{format_count_of(training.train_rows, 'row')} of train"))
    if (report := split.report) is not None:
        facts += [
            (
                "Rows read",
                f"{formatting.count(report.read)}, of which {formatting.count(report.kept)} kept",
            ),
            ("Rows set aside", _describe_set_aside(report.set_aside)),
            ("Kept rows that repeat another", formatting.count(report.repeated)),
            (
                "Kept rows whose text has another label elsewhere",
                formatting.count(report.contradicting),
            ),
        ]
    labels = {"all rows": found["labels"]}
    if training.distribution is not None:
        labels["test rows"] = training.distribution.true_labels
    languages = {"all rows": found["languages"]}
    tables = [shares_table("Label", labels), shares_table("Language", languages)]
    warnings = split.report.warnings if split.report else ()
    return Section(
        "Data", [Facts(facts), *(Note(f"{text}.", warning=True) for text in warnings), *tables]
    )


def _describe_set_aside(reasons: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{reason}: {formatting.count(rows)}" for reason, rows in reasons.items()) or "0"
    )


def _quality_section(training: TrainingRun) -> Section:
    metrics = training.run.data.metrics
    tables = [comparison_table(metrics, _previous_metrics(training), TEST_METRICS)]
    plots = []
    if training.confusion is not None:
        counts = pd.DataFrame(**training.confusion)
        tables.append(labels_table(counts))
        cells = counts.to_numpy()
        text = f"Rows by true and predicted label; {cells.trace()} of {cells.sum()} are right."
        title = "Confusion"
        if len(counts) > MOST_LABELS:
            title = f"Confusion of the {MOST_LABELS} of {len(counts)} labels with most wrong rows"
            tables.append(confusions_table(counts))
        plots.append(draw_plot("confusion", title, text, plot_confusion_matrix, counts))
    if training.curves:
        area = format_or_dash(metrics.get("test_roc_auc"), formatting.decimal)
        text = f"True against false positive rate for each label; the mean area is {area}."
        title = "ROC, each label against the rest"
        if len(training.curves) > MOST_CURVES:
            title = f"{title}: the {MOST_CURVES} of {len(training.curves)} with the smallest area"
        plots.append(draw_plot("roc", title, text, plot_roc_curves, training.curves))
    if training.losses:
        lasts = "; ".join(
            f"{name.replace('_', ' ')} {points[-1][1]:.3f} at step {points[-1][0]}"
            for name, points in training.losses.items()
        )
        text = f"Cross-entropy by step. At the end: {lasts}."
        plots.append(draw_plot("loss", "Loss", text, plot_loss_curve, training.losses))
    if training.reliability:
        plots.append(_reliability_plot(training))
    summary, *details = tables
    notes = [Note(f"{line[0].upper()}{line[1:]}.", warning=True) for line in training.advice]
    shown = [Plots(plots)] if plots else []
    return Section("How well", [*notes, summary, *_refused_note(metrics), *shown, *details])


def _refused_note(metrics: Mapping[str, float]) -> list[Block]:
    if not (refused := int(metrics.get("test_refused", 0))):
        return []
    text = (
        f"{refused} of the test rows are refused by the pipeline. They count as wrong for accuracy "
        "and F1, and have no part in the other figures and plots."
    )
    return [Note(text, warning=True)]


def _reliability_plot(training: TrainingRun) -> Plot:
    metrics = training.run.data.metrics
    keys = ("test_calibration_error_before", "test_calibration_error", TEMPERATURE)
    before, after, temperature = (format_or_dash(metrics.get(key), decimal) for key in keys)
    text = (
        "Share of right rows by prediction score. The calibration error is "
        f"{before} before and {after} after the division of the logits by {temperature}."
    )
    return draw_plot("reliability", "Reliability", text, plot_reliability, training.reliability)


def _predictions_section(training: TrainingRun) -> Section:
    found = training.distribution
    title = "Predictions for the test rows"
    if found is None:
        return Section(title, [Note("This training left no distribution of its predictions.")])
    scores = {"this run": found.scores}
    labels = {"predicted": found.labels, "true": found.true_labels}
    if (before := training.previous_distribution) is not None:
        scores["previous run"] = before.scores
        labels["predicted by the previous run"] = before.labels
    plot = draw_plot("scores", "Scores", describe_scores(scores), plot_score_distribution, scores)
    return Section(title, [Plots([plot]), shares_table("Label", labels)])


def _speed_section(training: TrainingRun) -> Section:
    now = training.run.data.metrics
    block: Block = comparison_table(now, _previous_metrics(training), _SPEED)
    if "train_seconds" not in now:
        block = Note("It was not measured, as for a training that was resumed.")
    return Section("How fast", [block])
