"""The page of a scoring run: in MLflow, linked from Prefect, beside the run before."""

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest
from matplotlib.figure import Figure
from mlflow.entities import Run
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import Artifact
from prefect.client.schemas.sorting import ArtifactSort

from flows.score_shards import score_shards
from tasks.common.errors import ShardsFailedError
from tasks.output.downloads import write_download
from tasks.output.records import OutputFormat
from tasks.pages import page
from tasks.reports import scoring_report
from tasks.reports.history import previous_run
from tasks.reports.scoring_run import log_scoring_run
from tasks.reports.summaries import scoring_markdown
from tasks.reports.tables import failures_table, files_table
from tasks.reports.types import LoggedRun, ReportOptions
from tasks.scoring.types import FailureLimits, ScoringParameters, ShardOutcome
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import PIPELINE_MODEL, series_of
from tests.support.builders import Composed, Trained, use_home
from tests.support.pages import PageReader

EVIL = "<script>alert(1)</script>"
SECRET = "the-text-of-a-row"
FRENCH = "Ce film est une merveille, je le recommande à tous mes amis sans hésiter"


@dataclass(frozen=True)
class Scored:
    """A run that tests share: nobody may change its files.

    Attributes:
        inputs: Its input folder.
        output: Its output folder.
        summary: Its summary.
        artifacts: Its artifacts in Prefect by key.
    """

    inputs: Path
    output: Path
    summary: dict[str, Any]
    artifacts: dict[str, Artifact]

    def copied(self, output: Path) -> Path:
        """Return a copy of the output that no run is known to have written."""
        shutil.copytree(self.output, output)
        path = output / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest["parameters"]["output_dir"] = str(output)
        path.write_text(json.dumps(manifest))
        return output


@pytest.fixture(scope="module")
def _scored_once(_trained_once: Trained, tmp_path_factory: pytest.TempPathFactory) -> Scored:
    folder = tmp_path_factory.mktemp("scored")
    inputs, output = write_inputs(folder / "in"), folder / "out's \"_%"
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_home(_trained_once.home, monkeypatch)
        summary = scored(inputs, output)
        keys = ("scoring-report", "scoring-summary")
        return Scored(inputs, output, summary, {key: last_artifact(key) for key in keys})


@pytest.fixture
def run(trained: Trained, _scored_once: Scored) -> Scored:
    """A run into an empty folder."""
    return _scored_once


@pytest.fixture
def copied(run: Scored, output: Path) -> Path:
    """A copy of the output of that run."""
    return run.copied(output)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    return write_inputs(tmp_path / "in")


def write_inputs(folder: Path) -> Path:
    """Write twelve rows that can be scored; four nulls, a bad line and two texts in French."""
    folder.mkdir()
    texts = [f"{SECRET} a {('great', 'awful')[row % 3 == 0]} film {row}" for row in range(9)]
    rows = {"text": [*texts, *[None] * 4], "label": ["positive"] * 13}
    pd.DataFrame(rows).to_parquet(folder / "a.parquet")
    lines = ["text,label", f"{EVIL},{SECRET},positive", "a great film,positive"]
    lines += [f'"{FRENCH} {SECRET} {EVIL} {EVIL}",positive', f'"{FRENCH} encore",positive']
    lines += ["I thought the film was awful,negative", "I liked this film a lot,no label"]
    (folder / "b.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out's \"_%"


def scored(inputs: Path, output: Path, **parameters: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"label_column": "label", "languages": ["en"]}
    settings |= {"language_policy": "reject", "use_cache": False, "resume": False}
    summary: dict[str, Any] = score_shards([str(inputs)], str(output), **settings | parameters)
    return summary


def runs_of(output: Path) -> list[Run]:
    """Return MLflow's runs into a folder, the last first."""
    experiment = connect().get_experiment_by_name("score-shards")
    assert experiment is not None
    runs = connect().search_runs([experiment.experiment_id])
    return [run for run in runs if run.data.tags["output_dir"] == str(output)]


def artifact(run: Run, name: str) -> Path:
    return Path(str(run.info.artifact_uri).removeprefix("file://")) / name


def page_of(output: Path) -> PageReader:
    return PageReader(artifact(runs_of(output)[0], "report.html").read_text(encoding="utf-8"))


def last_artifact(key: str) -> Artifact:
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(sort=ArtifactSort.CREATED_DESC, limit=20)
    return next(one for one in found if one.key == key)


def published(output: Path) -> tuple[ScoringParameters, dict[str, Any], tuple[ShardOutcome, ...]]:
    """Return from its manifest what a run was made of, to log it once more."""
    manifest = json.loads((output / "manifest.json").read_text())
    outcomes = tuple(ShardOutcome.model_validate(shard) for shard in manifest["shards"])
    parameters = ScoringParameters.model_validate(manifest["parameters"])
    return parameters, manifest["summary"], outcomes


def log_again(output: Path, **options: int) -> LoggedRun:
    return log_scoring_run(
        *published(output),
        started=datetime.now(UTC),
        options=ReportOptions(**options),
        limits=FailureLimits(),
    )


# The page


def test_page_holds_the_metrics_of_the_run_and_loads_nothing(run: Scored) -> None:
    summary = run.summary
    page = page_of(run.output)
    assert page.loads == []
    assert page.seen & {"script", "iframe", "object", "embed", "link", "img"} == set()
    assert {"svg", "table"} <= page.seen
    assert len(page.ids) == len(set(page.ids)) > 0
    assert page.references <= set(page.ids)

    assert summary["model_uri"] in page.text
    name = str(runs_of(run.output)[0].info.run_name)
    for value in (str(run.output), "openvino f32 on cpu", name):
        assert value in page.text
    assert page.row(str(run.inputs / "a.parquet")) == ["13", "9", "4", "1", "0", "0"]
    assert page.row(str(run.inputs / "b.csv")) == ["6", "3", "3", "1", "0", "0"]
    assert page.row("all 2 files") == ["19", "12", "7", "2", "0", "0"]
    accuracy = f"{summary['accuracy']:.1%}".replace("%", " %")
    assert page.row("Accuracy") == [accuracy, "–", "–"]
    assert page.row("Labels that the model does not know")[0] == "1"
    for label, rows in summary["labels"].items():
        assert page.row(label)[:2] == [str(rows), f"{rows / 12:.1%}".replace("%", " %")]
    for language, rows in summary["languages"].items():
        assert page.row(language)[0] == str(rows)
    assert ["validate", "null", "4", "21.1 %", "–"] in page.rows
    assert page.row("Calls avoided by deduplication")[0] == "0"
    assert "nothing to compare" in page.text


def test_rows_of_a_composed_pipeline_are_counted_by_who_decided(
    composed: Composed, inputs: Path, output: Path
) -> None:
    summary = scored(inputs, output)
    decided = summary["decided_by"]
    assert sum(decided.values()) == summary["scored"] == 12
    assert decided.keys() == {"film", "quick"}
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["summary"]["decided_by"] == decided
    assert scored(inputs, output, resume=True)["decided_by"] == decided
    metrics = runs_of(output)[0].data.metrics
    page = page_of(output)
    assert "Decided by" in [cell for row in page.rows for cell in row]
    for name, rows in decided.items():
        assert metrics[f"rows_decided_by_{name}"] == rows
        share = f"{rows / 12:.1%}".replace("%", " %")
        assert page.row(name) == [str(rows), share, share, "same"]


def test_labels_and_scores_are_beside_those_of_the_test_rows_of_the_training(
    trained: Trained, run: Scored
) -> None:
    training = connect().get_run(trained.training["finetuned_run_id"])
    known = json.loads(artifact(training, "evaluation/distribution.json").read_text())
    page = page_of(run.output)
    assert "share, test rows of training" in [cell for row in page.rows for cell in row]
    for label, rows in known["labels"].items():
        share = rows / sum(known["labels"].values())
        assert page.row(label)[2] == f"{share:.1%}".replace("%", " %")
    # Of all that is in the plot of the scores, its legend names the series.
    assert page.text.count("test rows of training") >= 3


def test_second_run_stands_beside_the_first(trained: Trained, inputs: Path, output: Path) -> None:
    first = scored(inputs, output)
    assert set(first["labels"]) == {"negative", "positive"}
    (inputs / "b.csv").unlink()
    rows = pd.read_parquet(inputs / "a.parquet")
    pd.concat([rows.iloc[[1]], rows.iloc[1:]]).to_parquet(inputs / "a.parquet")  # one more is great
    second = scored(inputs, output)
    page = page_of(output)
    shares = [run["labels"].get("positive", 0) / run["scored"] for run in (second, first)]
    difference = 100 * (shares[0] - shares[1])
    shown = [f"{share:.1%}".replace("%", " %") for share in shares]
    assert page.row("positive")[:4] == [
        str(second["labels"]["positive"]),
        *shown,
        f"{difference:+.1f} points".replace("-", "\N{MINUS SIGN}"),
    ]
    assert page.row("Rows with a label")[:3] == ["9", "12", "\N{MINUS SIGN}25.0 %"]
    assert page.row("Texts through the model")[:2] == ["9", "12"]
    assert ["validate", "null", "4", "30.8 %", "4"] in page.rows
    assert ["language", "fr; expected en", "0", "0.0 %", "2"] in page.rows
    markdown = last_artifact("scoring-summary")
    assert "| rows in | 13 | 19 |" in str(markdown.data)


def test_run_before_it_that_left_no_statistics_is_compared_by_its_metrics(copied: Path) -> None:
    log_again(copied)
    artifact(runs_of(copied)[0], "report.json").unlink()
    log_again(copied)
    page = page_of(copied)
    assert page.row("Rows with a label") == ["12", "12", "same"]
    header = next(row for row in page.rows if row and row[0] == "Label")
    assert header[:3] == ["Label", "rows, this run", "share, this run"]
    assert "share, previous run" not in header


def test_folder_with_another_name_is_not_compared(
    run: Scored, output: Path, tmp_path: Path
) -> None:
    # The wildcards that stand for the quotes find it.
    log_again(run.copied(Path(str(output).replace("'", "x"))))
    series = series_of(PIPELINE_MODEL, ["positive", "negative"])
    assert previous_run(output, series) is None
    log_again(run.copied(output))
    assert previous_run(output, series) is not None
    assert previous_run(tmp_path / "OUT's \"_%", series) is None
    others = (series_of("tickets", ["positive", "negative"]), series_of(PIPELINE_MODEL, ["a"]))
    assert [previous_run(output, other) for other in others] == [None, None]


# Rejected rows


def test_rejected_rows_are_quoted_escaped_and_short(copied: Path) -> None:
    log_again(copied, report_examples=1)
    html = artifact(runs_of(copied)[0], "report.html").read_text(encoding="utf-8")
    page = PageReader(html)
    assert "<script" not in html
    assert f"{EVIL},{SECRET},positive" in page.quotes
    (french,) = [quote for quote in page.quotes if quote.startswith("Ce film")]
    assert len(french) == 120
    assert french.endswith("…")
    assert page.quotes.count("(null)") == 1
    assert len(page.quotes) == 3
    assert "row 10" in page.text


def test_as_many_rows_are_quoted_for_each_reason_as_are_asked_for(copied: Path) -> None:
    log_again(copied, report_examples=2)
    assert page_of(copied).quotes.count("(null)") == 2
    assert len(page_of(copied).quotes) == 5


def test_no_row_is_quoted_where_none_is_asked_for(copied: Path) -> None:
    log_again(copied, report_examples=0, attach_mib=0)
    html = artifact(runs_of(copied)[0], "report.html").read_text(encoding="utf-8")
    assert PageReader(html).quotes == []
    for words in (SECRET, "alert(1)", "Ce film", "a great film"):
        assert words not in html


def test_only_the_page_has_the_text_of_a_row(run: Scored) -> None:
    (logged,) = runs_of(run.output)
    assert SECRET in artifact(logged, "report.html").read_text(encoding="utf-8")
    kept = [artifact(logged, name).read_text() for name in ("report.json", "manifest.json")]
    kept += [str(logged.data.params), str(logged.data.tags), str(logged.data.metrics)]
    kept += [str(found) for found in run.artifacts.values()]
    for words in (SECRET, "alert(1)", "Ce film", "a great film"):
        assert words not in "".join(kept)


def test_statistics_for_the_next_run_are_those_of_this_one(run: Scored) -> None:
    (logged,) = runs_of(run.output)
    statistics = json.loads(artifact(logged, "report.json").read_text())
    assert statistics["metrics"] == logged.data.metrics
    assert statistics["labels"] == run.summary["labels"]
    assert statistics["reasons"] == run.summary["rejected_because"]
    predictions = pd.read_parquet(run.output / "predictions")["prediction_score"]
    bins = pd.cut(predictions, [place / 20 for place in range(21)], right=False)
    assert statistics["scores"] == bins.value_counts(sort=False).tolist()


# Links


def test_prefect_links_to_the_report_and_shows_the_key_metrics(run: Scored) -> None:
    (logged,) = runs_of(run.output)
    url = (
        f"http://127.0.0.1:5000/#/experiments/{logged.info.experiment_id}/runs/{logged.info.run_id}"
        "/artifacts/report.html"
    )
    link, markdown = run.artifacts["scoring-report"], run.artifacts["scoring-summary"]
    assert f"({url})" in str(link.data)
    assert logged.info.run_id in str(link.description)
    assert f"({url})" in str(markdown.data)
    assert "| rejected | 7 | – |" in str(markdown.data)
    flow_run = logged.data.tags["prefect_flow_run_id"]
    assert str(link.flow_run_id) == str(markdown.flow_run_id) == flow_run


def test_summary_of_a_run_without_a_record_says_so(run: Scored) -> None:
    assert "MLflow has no record of this run" in scoring_markdown(run.summary, None)


def attached(run: Run) -> dict[str, Path]:
    """Return the predictions that are attached to a run, by the stem of the input file."""
    return {path.name.rpartition("-")[0]: path for path in artifact(run, "predictions").glob("*")}


def test_predictions_of_each_file_are_attached_to_the_run_and_linked(
    trained: Trained, inputs: Path, output: Path
) -> None:
    unusual = (inputs / "b.csv").rename(inputs / "b ]#|.csv")
    scored(inputs, output, output_format="csv", shard_rows=5)
    (run,) = runs_of(output)
    files = attached(run)
    assert files.keys() == {"a", "b____"}
    whole = pd.read_csv(files["a"])
    assert whole["row"].tolist() == [*range(1, 10)]
    assert whole["shard"].nunique() == 2
    assert EVIL not in files["a"].read_text(encoding="utf-8")
    markdown = last_artifact("scored-files")
    for path in files.values():
        query = f"get-artifact?run_uuid={run.info.run_id}&path=predictions%2F{path.name}"
        assert f"(http://127.0.0.1:5000/{query})" in str(markdown.data)
        assert page_of(output).row(f"predictions/{path.name}")[1] in ("9", "3")
    # What is as before stays with the run that scored it.
    unusual.write_text("text,label\na great film,positive\n")
    scored(inputs, output, output_format="csv", resume=True, shard_rows=5)
    assert attached(runs_of(output)[0]).keys() == {"b____"}
    # Another format scores nothing.
    scored(inputs, output, output_format="jsonl", resume=True, shard_rows=5)
    assert {path.suffix for path in attached(runs_of(output)[0]).values()} == {".jsonl"}
    assert attached(runs_of(output)[0]).keys() == {"a", "b____"}
    scored(inputs, output, output_format="csv-semicolon", resume=True, shard_rows=5)
    assert {path.suffix for path in attached(runs_of(output)[0]).values()} == {".csv"}


def test_predictions_that_are_too_many_stay_in_the_folder_and_the_page_says_so(
    trained: Trained, inputs: Path, output: Path, tmp_path: Path
) -> None:
    scored(inputs, output, attach_mib=0)
    assert attached(runs_of(output)[0]) == {}
    text = "This run attached no predictions to MLflow. All predictions are in"
    assert f"{text} {output / 'predictions'}." in page_of(output).text
    _, _, outcomes = published(output)
    records = [outcome.record for outcome in outcomes if outcome.record is not None]
    for kind in get_args(OutputFormat):
        path = tmp_path / f"rows.{kind}"
        assert not write_download(output, records[:1], kind, path, 200)
        assert not path.exists()
        assert write_download(output, records[:1], kind, path, 2**20)


def test_predictions_that_cannot_be_attached_cost_nothing_else(copied: Path) -> None:
    broken = next(copied.glob("predictions/a-*"))
    broken.write_bytes(b"PAR1")
    logged = log_again(copied, report_examples=0)
    assert logged.report_error.startswith("predictions: not made (ArrowInvalid")
    assert runs_of(copied)[0].info.status == "FINISHED"
    assert logged.report_url


def test_sample_of_the_predictions_is_on_the_page_and_in_prefect(
    trained: Trained, inputs: Path, output: Path
) -> None:
    summary = scored(inputs, output, report_examples=1, review_below=1.0)
    assert f"Need a review {summary['needs_review']}" in page_of(output).text
    markdown = last_artifact("scoring-summary")
    assert "| need a review | 12 |" in str(markdown.data)
    shown = [row for row in page_of(output).rows if len(row) == 4 and ", row " in row[1]]
    assert sorted(row[2] for row in shown) == sorted(summary["labels"])
    table = last_artifact("scored-rows")
    rows = json.loads(str(table.data))
    assert [row["text"] for row in rows] == [row[0] for row in shown]
    predictions = pd.read_parquet(output / "predictions").set_index(["shard", "row"])
    for row in rows:
        known = predictions.loc[(row["shard"], row["row"])]
        assert (row["text"], row["prediction_label"]) == (known["text"], known["prediction_label"])


# What goes wrong


def test_file_that_is_broken_costs_the_examples_alone(
    copied: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = next(copied.glob("rejected/a-*"))
    broken.write_bytes(b"PAR1")
    logged = log_again(copied)
    (run,) = runs_of(copied)
    assert run.info.status == "FINISHED"
    assert f"{broken}: cannot be read" in run.data.tags["report_error"]
    assert caplog.text.count("cannot be read") == 1
    page = page_of(copied)
    assert "Not all examples are here" in page.text
    assert page.row("Rows with a label")[0] == "12"
    assert logged.report_error in scoring_markdown(published(copied)[1], logged)


def test_page_that_cannot_be_made_does_not_cost_the_record(
    trained: Trained,
    inputs: Path,
    output: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(page, "_TEMPLATES", tmp_path)
    summary = scored(inputs, output)
    (run,) = runs_of(output)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["rows_in"] == 19
    assert run.data.tags["report_error"].startswith("report: not made (TemplateNotFound, line ")
    assert caplog.text.count("report: not made") == 1
    markdown = last_artifact("scoring-summary")
    assert "report: not made" in str(markdown.data)
    assert "Report in MLflow" not in str(markdown.data)
    assert summary["scored"] == 12


def test_plot_that_cannot_be_drawn_does_not_cost_the_page(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_plot(_: object) -> Figure:
        raise ValueError("no picture")

    monkeypatch.setattr(scoring_report, "plot_shares", no_plot)
    logged = log_again(copied)
    (run,) = runs_of(copied)
    error = "Predicted labels: not drawn (ValueError"
    assert run.data.tags["report_error"].startswith(f"report: {error}")
    assert error in page_of(copied).text
    assert "Scores" in page_of(copied).text
    assert error in scoring_markdown(published(copied)[1], logged)


def test_first_try_that_failed_is_no_run_to_be_compared_with(copied: Path) -> None:
    again = published(copied)

    def log() -> LoggedRun:
        return log_scoring_run(
            *again,
            started=datetime.now(UTC),
            options=ReportOptions(report_examples=0, attach_mib=0),
            limits=FailureLimits(),
        )

    manifest = (copied / "manifest.json").rename(copied / "away.json")
    with pytest.raises(OSError, match=r"manifest\.json"):
        log()
    assert [run.info.status for run in runs_of(copied)] == ["FAILED"]
    manifest.rename(copied / "manifest.json")
    assert log().previous is None
    assert [run.info.status for run in runs_of(copied)] == ["FINISHED", "FAILED"]
    assert log().previous is not None


def test_failed_shards_are_said_and_their_run_is_compared_with(
    trained: Trained, inputs: Path, output: Path
) -> None:
    (inputs / "c.parquet").write_bytes(b"PAR1")
    with pytest.raises(ShardsFailedError):
        scored(inputs, output)
    page = page_of(output)
    assert "1 shard failed" in page.text
    (failure,) = [row for row in page.rows if row[0].startswith("c-") and len(row) == 2]
    assert "expected a Parquet table" in failure[1]
    assert page.row(str(inputs / "c.parquet"))[-1] == "1"
    (inputs / "c.parquet").unlink()
    scored(inputs, output)
    assert [run.info.status for run in runs_of(output)] == ["FINISHED", "FAILED"]
    assert page_of(output).row("Rows with a label") == ["12", "12", "same"]


def test_rows_that_look_wrong_are_named_wherever_one_looks(
    trained: Trained, inputs: Path, output: Path
) -> None:
    path = inputs / "c.tsv"
    path.write_text(f'text\tlabel\n"{SECRET}\tx\nb\ty\nc"\ty\n')
    warning = f"{path}: row 1 (line 2): a quoted cell holds whole lines of the table;"
    told = scored(inputs, output, dry_run=True)
    summary = scored(inputs, output)
    for found in (told, summary):
        (line,) = found["row_warnings"]
        assert line.startswith(warning)
    assert warning in page_of(output).text
    markdown = last_artifact("scoring-summary")
    assert warning in str(markdown.data)
    assert SECRET not in str(markdown.data)


def test_many_files_are_summed_up() -> None:
    outcomes = [
        ShardOutcome(id=f"f{n}", file_id=f"f{n}", source=f"f{n}.csv", error="gone", rows_failed=2)
        for n in range(25)
    ]
    table = files_table(outcomes)
    assert len(table.rows) == 22
    assert table.rows[-2] == ("and 5 more", "10", "0", "0", "5", "0", "5")
    assert table.rows[-1] == ("all 25 files", "50", "0", "0", "25", "0", "25")
    assert failures_table(outcomes).rows[-1][0] == "and 5 more"
