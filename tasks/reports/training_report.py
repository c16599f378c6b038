"""The page of a training run: what ran, on what, how well, how fast."""

import logging

import pandas as pd

from tasks.reports import formatting as words
from tasks.reports.history import TrainingRun, read_training
from tasks.reports.page import Block, Facts, KeyMetric, Note, Page, Pictures, Section, render
from tasks.reports.plots import draw, score_distribution, scores_as_text
from tasks.reports.tables import comparison_table, key_metric, shares_table
from tasks.reports.types import REPORT, TEST_METRICS, LoggedReport, Metric
from tasks.tracking.mlflow_client import (
    connect,
    has_artifact,
    missing_report_reason,
    report_url,
    run_start_time,
)
from tasks.training import evaluation_plots

logger = logging.getLogger(__name__)

_SPEED = (
    Metric("Duration of fine-tuning", "train_seconds", words.seconds),
    Metric("Rows a second, each epoch's counted", "train_rows_per_second", words.speed),
)

_PARAMETERS = (
    "base_model",
    "strategy",
    "epochs",
    "batch_size",
    "learning_rate",
    "max_tokens",
    "sample_size",
    "seed",
    "bf16",
)


def log_training_report(run_id: str) -> LoggedReport:
    """Log a report to a training run that has none yet.

    Raises:
        MlflowException: If MLflow cannot be reached.
    """
    training = read_training(run_id)
    trouble = ""
    if not has_artifact(run_id, REPORT):
        try:
            connect().log_text(run_id, render(training_page(training)), REPORT)
        except Exception as error:  # noqa: BLE001 -- the page must not cost the model
            trouble = missing_report_reason(error)
            logger.warning("%s", trouble)
    return LoggedReport(
        run_id=run_id,
        url="" if trouble else report_url(training.run.info.experiment_id, run_id, REPORT),
        trouble=trouble,
        metrics=training.run.data.metrics,
        previous=_earlier(training),
    )


def training_page(training: TrainingRun) -> Page:
    """Return the page of a training run."""
    run = training.run
    parameters = run.data.params
    sections = (
        _what_ran(training),
        _data(training),
        _how_well(training),
        _test_rows(training),
        Section("How fast", _how_fast(training)),
    )
    return Page(
        kind="Training report",
        title=run.info.run_name or run.info.run_id,
        subtitle=(
            f"{words.moment(run_start_time(run))} · {parameters.get('base_model', '')} · "
            f"{parameters.get('source', '')}"
        ),
        key_metrics=_key_metrics(training),
        sections=sections,
    )


def _earlier(training: TrainingRun) -> dict[str, float]:
    return dict(training.previous.data.metrics) if training.previous else {}


def _key_metrics(training: TrainingRun) -> list[KeyMetric]:
    before, now = _earlier(training), training.run.data.metrics
    shown = [key_metric(metric, now, before) for metric in TEST_METRICS]
    if training.drawn is not None:
        shown.append(KeyMetric("Rows trained on", words.count(training.drawn)))
    return shown


def _what_ran(training: TrainingRun) -> Section:
    run = training.run
    facts = [
        ("MLflow run", run.info.run_id),
        ("Started", words.moment(run_start_time(run))),
        ("Code", run.data.tags.get("git_commit", words.NONE)),
        ("Model", run.data.tags.get("model_uri", words.NONE)),
    ]
    facts += [
        (name.replace("_", " ").capitalize(), run.data.params[name])
        for name in _PARAMETERS
        if name in run.data.params
    ]
    return Section("What ran", [Facts(facts), Note(_what_changed(training))])


def _what_changed(training: TrainingRun) -> str:
    before, now = training.previous, training.run
    if before is None:
        return "No earlier training is known, so there is nothing to compare."
    parts = [
        f"The training before, {before.info.run_name}, began {words.moment(run_start_time(before))}"
    ]
    parts += [
        f"{name.replace('_', ' ')} {before.data.params[name]}, now {now.data.params.get(name)}"
        for name in ("source", *_PARAMETERS)
        if before.data.params.get(name, "") != now.data.params.get(name, "")
        and name in before.data.params
    ]
    if before.data.tags.get("data_digest") != now.data.tags.get("data_digest"):
        parts.append("its data were others, so that the test figures are of other rows")
    return "; ".join(parts) + "."


def _data(training: TrainingRun) -> Section:
    split, tags = training.split, training.run.data.tags
    facts = [
        ("Source", training.run.data.params.get("source", words.NONE)),
        ("SHA-256 of the rows", tags.get("data_digest", words.NONE)),
    ]
    if split is None:
        return Section("Data", [Facts(facts)])
    found = split.distributions
    quantiles = ", ".join(f"{name} {value:g}" for name, value in found.get("words", {}).items())
    facts.append(("Words in a row", quantiles or words.NONE))
    parts = ", ".join(f"{name} {words.count(rows)}" for name, rows in split.rows.items())
    facts.append(("Rows", parts))
    if training.drawn is not None:
        facts.append(("Trained on", f"{words.things(training.drawn, 'row')} of train"))
    labels = {"all rows": found["labels"]}
    if training.distribution is not None:
        labels["test rows"] = training.distribution.true_labels
    return Section(
        "Data",
        [
            Facts(facts),
            shares_table("Label", labels),
            shares_table("Language", {"all rows": found["languages"]}),
        ],
    )


def _how_well(training: TrainingRun) -> Section:
    blocks: list[Block] = [
        comparison_table(training.run.data.metrics, _earlier(training), TEST_METRICS),
    ]
    pictures = []
    if training.confusion is not None:
        counts = pd.DataFrame(**training.confusion)
        cells = counts.to_numpy()
        text = f"Rows by true and predicted label; {cells.trace()} of {cells.sum()} are right."
        picture = draw(
            "confusion", "Confusion", text, lambda: evaluation_plots.plot_confusion_matrix(counts)
        )
        pictures.append(picture)
    if training.curves:
        area = words.shown(training.run.data.metrics.get("test_roc_auc"), words.decimal)
        text = f"True against false positive rate for each label; the mean area is {area}."
        title = "ROC, each label against the rest"
        pictures.append(
            draw("roc", title, text, lambda: evaluation_plots.plot_roc_curves(training.curves))
        )
    if training.losses:
        lasts = "; ".join(
            f"{name.replace('_', ' ')} {points[-1][1]:.3f} at step {points[-1][0]}"
            for name, points in training.losses.items()
        )
        text = f"Cross-entropy by step. At the end: {lasts}."
        pictures.append(
            draw("loss", "Loss", text, lambda: evaluation_plots.plot_loss_curve(training.losses))
        )
    return Section("How well", [*blocks, Pictures(pictures)] if pictures else blocks)


def _test_rows(training: TrainingRun) -> Section:
    found = training.distribution
    title = "Predictions for the test rows"
    if found is None:
        return Section(title, [Note("This training left no distribution of its predictions.")])
    scores = {"this run": found.scores}
    labels = {"predicted": found.labels, "true": found.true_labels}
    if (before := training.previous_distribution) is not None:
        scores["previous run"] = before.scores
        labels["predicted by the previous run"] = before.labels
    text = scores_as_text(scores)
    return Section(
        title,
        [
            Pictures([draw("scores", "Scores", text, lambda: score_distribution(scores))]),
            shares_table("Label", labels),
        ],
    )


def _how_fast(training: TrainingRun) -> list[Block]:
    if "train_seconds" not in training.run.data.metrics:
        return [Note("It was not measured, as for a training that was resumed.")]
    return [comparison_table(training.run.data.metrics, _earlier(training), _SPEED)]
