"""The page of a training run: in MLflow, linked from Prefect, beside the training before."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import Artifact
from prefect.client.schemas.sorting import ArtifactSort

from tasks.common.errors import ModelError
from tasks.common.settings import get_settings
from tasks.measures import evaluation_plots
from tasks.pages import page
from tasks.reports import training_report
from tasks.reports.training_report import log_training_report
from tasks.tracking.mlflow_client import connect
from tasks.training import evaluation, fine_tuning
from tasks.training.mlflow_run import find_run
from tests.support.builders import (
    Trained,
    train_tiny,
    train_unevaluated,
    use_home,
    with_refused_rows,
)
from tests.support.built_once import BuiltHome, home_built_once
from tests.support.pages import PageReader

pytestmark = pytest.mark.usefixtures("new_database")


@pytest.fixture(scope="module")
def _first_original(
    prefect_harness: None,
    tmp_path_factory: pytest.TempPathFactory,
    labelled_csv: Path,
    _new_database: Path,
) -> BuiltHome:
    def train(home: Path) -> dict[str, Any]:
        home.mkdir()
        shutil.copy(_new_database, home)
        return train_tiny("static", labelled_csv)

    return home_built_once(tmp_path_factory, "first", train)


@pytest.fixture
def first(
    _first_original: BuiltHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """The report of a training of a static model, in a state folder for one test alone."""
    report = _first_original.copied(tmp_path / "first")
    use_home(tmp_path / "first", monkeypatch)
    yield report
    get_settings.cache_clear()


def artifact(run_id: str, name: str) -> Path:
    uri = str(connect().get_run(run_id).info.artifact_uri)
    return Path(uri.removeprefix("file://")) / name


def page_of(run_id: str) -> PageReader:
    return PageReader(artifact(run_id, "report.html").read_text(encoding="utf-8"))


def last_artifact(key: str) -> Artifact:
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(sort=ArtifactSort.CREATED_DESC, limit=20)
    return next(one for one in found if one.key == key)


def percent(value: float) -> str:
    return f"{value:.1%}".replace("%", " %")


def test_page_holds_what_mlflow_holds_and_loads_nothing(trained: Trained) -> None:
    run = connect().get_run(trained.training["finetuned_run_id"])
    page = page_of(run.info.run_id)
    assert page.loads == []
    assert page.seen & {"script", "iframe", "object", "embed", "link", "img"} == set()
    assert {"svg", "table"} <= page.seen
    assert len(page.ids) == len(set(page.ids)) > 0
    assert page.references <= set(page.ids)

    metrics = run.data.metrics
    assert page.row("Test accuracy")[0] == percent(metrics["test_accuracy"])
    assert page.row("F1, mean of the labels")[0] == f"{metrics['test_f1']:.4f}"
    assert page.row("ROC AUC")[0] == f"{metrics['test_roc_auc']:.4f}"
    assert page.row("Calibration error")[0] == f"{metrics['test_calibration_error']:.4f}"
    assert page.row("Duration of fine-tuning")[0].endswith(" s")
    assert "Strategy All weights are trained." in page.text
    for name in ("base_model", "epochs", "batch_size", "seed", "source"):
        assert run.data.params[name] in page.text
    for tag in ("data_digest", "git_commit", "model_uri"):
        assert run.data.tags[tag] in page.text
    split = json.loads(artifact(run.info.run_id, "data/split.json").read_text())
    parts = ", ".join(f"{name} {rows}" for name, rows in split["rows"].items())
    assert f"Rows {parts}" in page.text
    assert "Rows read 300, of which 300 kept Rows set aside 0" in page.text
    assert trained.training["rows_read"] == trained.training["rows_kept"] == 300
    assert trained.training["rows_set_aside"] == {}
    assert ["en", "300", "100.0 %"] in page.rows
    assert ["negative", "150", "50.0 %"] in [row[:3] for row in page.rows]
    for title in ("Confusion", "ROC, each label against the rest", "Loss", "Scores", "Reliability"):
        assert title in page.text


def test_page_has_precision_recall_and_f1_of_each_label(trained: Trained) -> None:
    run_id = trained.training["finetuned_run_id"]
    confusion = json.loads(artifact(run_id, "evaluation/confusion_matrix.json").read_text())
    counts = pd.DataFrame(**confusion)
    page = page_of(run_id)
    header = ["Label", "test rows", "precision", "recall", "F1"]
    place = page.rows.index(header)
    for row, label in zip(page.rows[place + 1 :], counts.index, strict=False):
        right = counts.loc[label, label]
        precision, recall = right / counts[label].sum(), right / counts.loc[label].sum()
        f1 = 2 * precision * recall / (precision + recall)
        assert row[0] == label
        assert row[1:] == [
            str(counts.loc[label].sum()),
            percent(precision),
            percent(recall),
            f"{f1:.4f}",
        ]
        assert row[0] in ("negative", "positive")


def test_what_to_try_next_is_in_page_summary_and_answer(
    home: Path, prefect_harness: None, tiny_base: Path, labelled_csv: Path
) -> None:
    report = train_tiny(tiny_base, labelled_csv, epochs=1, learning_rate=1e-6, class_weights="auto")
    (line,) = report["advice"]
    assert line.startswith("a linear model on words and word pairs is right for 100.0% of the test")
    assert line.endswith("try min_steps 16, then another base_model")
    page = page_of(report["finetuned_run_id"])
    assert f"{line[0].upper()}{line[1:]}." in page.text
    assert page.row("Accuracy of a linear model on words")[0] == "100.0 %"
    assert "a linear model on words" in str(last_artifact("training-summary").data)
    again = train_tiny(tiny_base, labelled_csv, epochs=1, learning_rate=1e-6, class_weights="auto")
    assert again["reused"]
    assert again["advice"] == report["advice"]


def test_evaluation_leaves_how_labels_and_scores_are_spread(trained: Trained) -> None:
    run_id = trained.training["finetuned_run_id"]
    found = json.loads(artifact(run_id, "evaluation/distribution.json").read_text())
    test = pd.read_parquet(artifact(run_id, "data/test.parquet"))
    assert found["true_labels"] == test["label"].value_counts().to_dict()
    assert len(found["scores"]) == 20
    assert sum(found["scores"]) == sum(found["labels"].values()) == len(test)
    assert sum(found["scores"][:10]) == 0  # of two labels, one has a half at least
    confusion = json.loads(artifact(run_id, "evaluation/confusion_matrix.json").read_text())
    predicted = pd.DataFrame(**confusion).sum()
    assert predicted[predicted > 0].to_dict() == found["labels"]


def test_next_training_stands_beside_the_one_before(
    first: dict[str, Any], labelled_csv: Path
) -> None:
    second = train_tiny("static", labelled_csv, sample_size=100)
    page = page_of(second["finetuned_run_id"])
    now, before = (f"{report['test_calibration_error']:.4f}" for report in (second, first))
    assert page.row("Calibration error")[:2] == [now, before]
    assert "sample size 0, now 100" in page.text
    header = next(row for row in page.rows if "share, predicted by the previous run" in row)
    assert header[0] == "Label"
    assert "nothing to compare" in page_of(first["finetuned_run_id"]).text

    run = connect().get_run(second["finetuned_run_id"])
    url = (
        f"http://127.0.0.1:5000/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
        "/artifacts/report.html"
    )
    link, markdown = last_artifact("training-report"), last_artifact("training-summary")
    assert f"({url})" in str(link.data)
    assert run.info.run_id in str(link.description)
    assert f"({url})" in str(markdown.data)
    assert f"| Calibration error | {now} | {before} |" in str(markdown.data)

    # A model that is taken again is linked, and its report left as it is.
    report = artifact(first["finetuned_run_id"], "report.html")
    written = report.stat().st_mtime_ns
    assert train_tiny("static", labelled_csv)["reused"]
    assert report.stat().st_mtime_ns == written
    assert first["finetuned_run_id"] in str(last_artifact("training-report").data)
    assert "The model of an earlier run was taken" in str(last_artifact("training-summary").data)


def test_training_on_other_data_stands_beside_none_of_these(
    first: dict[str, Any], labelled_csv: Path, tmp_path: Path
) -> None:
    path = tmp_path / "tickets.csv"
    pd.read_csv(labelled_csv).iloc[1:].to_csv(path, index=False)
    other = train_tiny("static", path)
    page = page_of(other["finetuned_run_id"])
    assert "nothing to compare" in page.text
    assert page.row("Calibration error")[1] == "\N{EN DASH}"


def test_figures_of_other_test_rows_are_said_to_be_of_others(
    first: dict[str, Any], labelled_csv: Path
) -> None:
    other = train_unevaluated("static", labelled_csv, test_fraction=0.3)
    assert log_training_report(other["finetuned_run_id"]).error == ""
    expected = "its split was another, so that the test figures are of other rows"
    assert expected in page_of(other["finetuned_run_id"]).text


@pytest.mark.parametrize(
    "missing_and_said",
    [
        {
            "evaluation/distribution.json": "left no distribution of its predictions",
            "evaluation/roc_curve.json": "Confusion",
        },
        {
            "evaluation/confusion_matrix.json": "ROC, each label against the rest",
            "data/split.json": "SHA-256 of the rows",
        },
    ],
)
def test_training_that_left_less_has_a_page_of_what_there_is(
    trained: Trained, missing_and_said: dict[str, str]
) -> None:
    run_id = trained.training["finetuned_run_id"]
    paths = [artifact(run_id, name) for name in ("report.html", *missing_and_said)]
    kept = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    try:
        assert log_training_report(run_id).error == ""
        text = page_of(run_id).text
        assert all(said in text for said in missing_and_said.values())
    finally:
        for path, document in zip(paths, kept, strict=True):
            path.write_bytes(document)


def test_page_counts_the_test_rows_that_the_pipeline_refuses(trained: Trained) -> None:
    run_id = trained.training["finetuned_run_id"]
    earlier = find_run(run_id).model_copy(update={"run_id": with_refused_rows(run_id)})
    evaluation.measure_model(earlier)
    assert log_training_report(earlier.run_id).error == ""
    assert "2 of the test rows are refused by the pipeline. They" in page_of(earlier.run_id).text
    assert "are refused by the pipeline" not in page_of(run_id).text


def no_plot(*_: object) -> Figure:
    raise ValueError("no picture")


def test_figures_that_cannot_be_made_cost_neither_the_model_nor_the_page(
    home: Path,
    prefect_harness: None,
    tiny_base: Path,
    labelled_csv: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (evaluation_plots, training_report):
        monkeypatch.setattr(module, "plot_roc_curves", no_plot)
    monkeypatch.setattr(fine_tuning, "baseline_accuracy", no_plot)
    report = train_tiny(tiny_base, labelled_csv, epochs=1)
    assert report["finetuned_model"] == "models:/dl_finetuned_model/1"
    assert report["test_accuracy"] > 0
    reasons = report["not_made_because"]
    assert report["not_made"] == len(reasons) == 3
    assert reasons["test_baseline_accuracy"].startswith("ValueError")
    assert reasons["evaluation/roc_curve.png"].startswith("not made (ValueError")
    title = "ROC, each label against the rest"
    assert reasons["report"].startswith(f"{title}: not drawn (ValueError")
    assert f"{title}: not drawn (ValueError" in page_of(report["finetuned_run_id"]).text
    summary = str(last_artifact("training-summary").data)
    assert all(f"{name}: {reason}" in summary for name, reason in reasons.items())
    assert "[Report in MLflow]" in summary


def test_neither_an_evaluation_nor_a_page_that_fails_costs_the_model(
    home: Path,
    prefect_harness: None,
    labelled_csv: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object) -> None:
        raise ModelError("no metric")  # which is not tried again

    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "classification_metrics", fails)
        with pytest.raises(ModelError, match="no metric"):
            train_tiny("static", labelled_csv)
    with monkeypatch.context() as patched:
        patched.setattr(page, "_TEMPLATES", tmp_path)
        report = train_tiny("static", labelled_csv)
    assert report["reused"]
    assert report["finetuned_model"] == "models:/dl_finetuned_model/1"
    assert report["test_accuracy"] > 0
    assert report["not_made"] == 1
    assert report["not_made_because"]["report"].startswith("not made (TemplateNotFound")
    assert "report: not made (TemplateNotFound" in str(last_artifact("training-summary").data)


def test_labels_with_what_matplotlib_reads_as_mathematics_are_trained(
    home: Path, prefect_harness: None, labelled_csv: Path, tmp_path: Path
) -> None:
    odd = r"$\frac{$ a_b^c"
    data = tmp_path / "odd.csv"
    data.write_text(labelled_csv.read_text().replace(",negative", f",{odd}"))
    report = train_tiny("static", data)
    assert report["finetuned_model"] == "models:/dl_finetuned_model/1"
    assert "not_made" not in report
    assert odd in page_of(report["finetuned_run_id"]).text
