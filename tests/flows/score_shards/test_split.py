"""An A/B split: each row is answered by the version of its arm, in every run."""

import json
import os
import zlib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow.entities.model_registry import ModelVersion

from flows.explain_prediction import explain_prediction
from flows.score_shards import score_shards
from tasks.common.errors import MillstreamError, ParameterError
from tasks.output.records import read_records
from tasks.output.traffic_split import ARMS
from tasks.pages.formatting import describe_accuracies
from tasks.reports.summaries import scoring_markdown
from tasks.tracking.mlflow_client import connect, ensure_experiment
from tasks.tracking.names import PIPELINE_MODEL, SCORING_EXPERIMENT
from tests.support.pages import PageReader

ALIASES = ("champion", "challenger")
CONTROL = f"models:/{PIPELINE_MODEL}/1"


pytestmark = pytest.mark.usefixtures("two_versions")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """Two files of sixty rows by twenty customers, a null and a line that cannot be parsed."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    write_rows(folder / "one.csv")
    write_rows(folder / "two.csv")
    with (folder / "two.csv").open("a") as file:
        file.write(',3,positive,60\n"open,4,positive,61,more\n')
    return folder


def write_rows(path: Path, rows: int = 60) -> None:
    # Short, so that the control cuts none, and not in the cache.
    place = zlib.crc32(os.fsencode(path)) % 10_000
    texts = [f"{place} a {('great', 'awful')[row % 2]} film, number {row}" for row in range(rows)]
    table = {
        "text": texts,
        "customer": [row % 20 for row in range(rows)],
        "label": ["positive", "negative"] * (rows // 2),
        "id": range(rows),
    }
    pd.DataFrame(table).to_csv(path, index=False)


def score(inbox: Path, output: Path, **parameters: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"split": "challenger=0.4", "split_key": "customer"}
    summary: dict[str, Any] = score_shards([str(inbox)], str(output), **settings | parameters)
    return summary


def versions() -> list[ModelVersion]:
    """The control and the challenger."""
    return [connect().get_model_version_by_alias(PIPELINE_MODEL, alias) for alias in ALIASES]


def versions_by_customer(output: Path) -> dict[str, set[str]]:
    table = pd.read_parquet(output / "predictions")
    by_customer = table.groupby("customer")["inference_pipeline_model_uri"]
    return {str(customer): set(uris) for customer, uris in by_customer}


def test_a_customer_meets_the_same_version_in_each_file_and_each_row_names_it(
    inbox: Path, tmp_path: Path
) -> None:
    summary = score(inbox, tmp_path / "out", label_column="label", shard_rows=25)
    by_customer = versions_by_customer(tmp_path / "out")
    assert {len(uris) for uris in by_customer.values()} == {1}
    sources = [str(version.source) for version in versions()]
    uris = [f"models:/{PIPELINE_MODEL}/{version.version}" for version in versions()]
    arms = summary["arms"]
    assert arms_uris(summary) == uris
    table = pd.read_parquet(tmp_path / "out" / "predictions")
    for (name, arm), source in zip(arms.items(), sources, strict=True):
        own = table[table["inference_pipeline_model_uri"] == source]
        assert arm["scored"] == len(own) > 0, name
        assert arm["labels"] == own["prediction_label"].value_counts().to_dict()
        assert sum(arm["scores"]) == len(own)
        assert arm["accuracy"] == (own["prediction_label"] == own["label"]).mean()
        assert arm["rows_per_second"] > 0
    # Texts of more than eight tokens are truncated by the challenger alone.
    assert (table["truncated"] == (table["inference_pipeline_model_uri"] == sources[1])).all()
    assert sum(arm["scored"] for arm in arms.values()) == summary["scored"] == 120
    # A line that could not be parsed is nobody's.
    assert sum(arm["rejected"] for arm in arms.values()) == summary["rejected"] - 1 == 1
    low, high = summary["accuracy_difference_low"], summary["accuracy_difference_high"]
    assert -1 <= low <= summary["accuracy_difference"] <= high <= 1
    assert (table.sort_values(["shard", "row"])["row"] == table["row"]).all()
    check_report(summary, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["summary"]["arms"] == arms
    assert manifest["parameters"]["challenger"]["uri"] == uris[1]


def check_report(summary: dict[str, Any], output: Path) -> None:
    """Check the report, the Prefect summary and the metrics of the last run."""
    (run, *_) = connect().search_runs([ensure_experiment(SCORING_EXPERIMENT)], max_results=1)
    folder = Path(str(run.info.artifact_uri).removeprefix("file:"))
    page = PageReader((folder / "report.html").read_text(encoding="utf-8"))
    markdown = scoring_markdown(summary, None)
    arms = summary["arms"].values()
    scored = [str(arm["scored"]) for arm in arms]
    accuracies = [f"{100 * arm['accuracy']:.1f} %" for arm in arms]
    shares = [f"{100 * arm['rows_in'] / 121:.1f} %" for arm in arms]
    for row in (
        ["", *ARMS],
        ["Share of the rows", *shares],
        ["Scored", *scored],
        ["Accuracy", *accuracies],
    ):
        assert row in page.rows
        assert f"| {' | '.join(row)} |" in markdown
    shown = describe_accuracies(summary)
    assert shown in page.text
    assert shown in markdown
    assert "Scores of both" in page.text
    assert f"{arms_uris(summary)[1]} answers 40.00%, by column customer" in page.text
    for name, arm in summary["arms"].items():
        assert run.data.metrics[f"{name}_accuracy"] == arm["accuracy"]
        assert run.data.metrics[f"{name}_rows_in"] == arm["rows_in"]
    assert run.data.metrics["accuracy_difference_low"] == summary["accuracy_difference_low"]
    assert run.data.params["split_key_column"] == "customer"
    assert run.data.tags["challenger_uri"] == arms_uris(summary)[1]


def arms_uris(summary: dict[str, Any]) -> list[str]:
    return [arm["model_uri"] for arm in summary["arms"].values()]


def test_a_second_run_goes_on_with_the_same_split_and_scores_again_with_another(
    inbox: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    first = score(inbox, output)
    before = versions_by_customer(output)
    next(output.glob("records/two-*")).unlink()  # as a kill leaves it
    told = score(inbox, output, dry_run=True)
    again = score(inbox, output)
    assert told["scored_because"] == again["scored_because"] == {"new": 1}
    assert again["model_calls"] == 0
    for name, arm in again["arms"].items():
        assert {key: arm[key] for key in ("rows_in", "scored", "rejected", "labels", "scores")} == {
            key: first["arms"][name][key]
            for key in ("rows_in", "scored", "rejected", "labels", "scores")
        }
        assert (
            told["arms"][name]["rows"]
            == told["arms"][name]["expected_cache_hits"] + (arm["rejected"])
        )
    assert versions_by_customer(output) == before
    challenger = versions()[1]
    more = score(inbox, output, split=f"{challenger.version}=0.7")
    assert more["scored_because"] == {"the split changed": 2}
    after = versions_by_customer(output)
    kept = {customer for customer, uris in before.items() if challenger.source in uris}
    grown = {customer for customer, uris in after.items() if challenger.source in uris}
    assert kept < grown
    assert score(inbox, output, split_key="id", dry_run=True)["scored_because"] == {
        "the split changed": 2
    }
    without = score(inbox, output, split="", split_key="")
    assert without["scored_because"] == {"the split changed": 2}
    assert "arms" not in without
    assert "arms" not in json.loads(next(output.glob("records/*")).read_text())
    manifest = json.loads((output / "manifest.json").read_text())
    assert "challenger" not in manifest["parameters"]
    assert "traffic" not in manifest["parameters"]["rows"]


def test_dry_run_tells_what_each_version_would_have_to_do(inbox: Path, tmp_path: Path) -> None:
    told = score(inbox, tmp_path / "out", dry_run=True)
    done = score(inbox, tmp_path / "out")
    assert told["expected_model_calls"] == done["model_calls"]
    for name, arm in done["arms"].items():
        expected = told["arms"][name]
        assert (expected["model_uri"], expected["rows"]) == (arm["model_uri"], arm["rows_in"])
        assert expected["expected_model_calls"] == arm["model_calls"] > 0
        assert expected["expected_cache_hits"] == arm["cache_hits"]


def test_only_failed_asks_the_version_of_each_row_again(inbox: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    score(inbox, output)
    before = versions_by_customer(output)
    again = score(inbox, output, only_failed=True, use_cache=False)
    assert again["scored_because"] == {"it has rejected rows": 1}
    assert [arm["model_calls"] > 0 for arm in again["arms"].values()] == [True, True]
    assert versions_by_customer(output) == before


def test_a_row_without_a_key_goes_by_its_text_and_is_counted(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    texts = [f"film {row} of {tmp_path.name}" for row in range(40)]
    pd.DataFrame({"text": texts, "customer": [None] * 20 + [7] * 20}).to_parquet(
        folder / "a.parquet"
    )
    pd.DataFrame({"text": texts, "customer": ["7"] * 20 + ["007"] * 20}).to_csv(
        folder / "b.csv", index=False
    )
    summary = score(folder, tmp_path / "out", split="challenger=0.5")
    assert summary["rows_without_key"] == 20
    table = pd.read_parquet(tmp_path / "out" / "predictions")
    by_shard = table.groupby("shard")["inference_pipeline_model_uri"]
    parts = {str(shard)[0]: uris for shard, uris in by_shard}
    assert parts["a"][:20].nunique() == 2
    # A number beside nulls is a fraction in Parquet.
    assert set(parts["a"][20:]) == set(parts["b"][:20])
    by_text = score(folder, tmp_path / "other", split="challenger=0.5", split_key="")
    assert by_text["rows_without_key"] == 0
    table = pd.read_parquet(tmp_path / "other" / "predictions")
    assert set(table.groupby("text")["inference_pipeline_model_uri"].nunique()) == {1}


def test_a_file_without_the_key_fails_alone_and_by_name(inbox: Path, tmp_path: Path) -> None:
    (inbox / "three.csv").write_text("text\na film\n")
    summary = score(inbox, tmp_path / "out", max_failed_shards=1)
    ((_, error),) = summary["failures"].items()
    assert error.startswith(f"{inbox}/three.csv: no column 'customer' among its 1")


def test_a_row_is_explained_by_the_version_that_answered_it(inbox: Path, tmp_path: Path) -> None:
    score(inbox, tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out" / "predictions")
    records = {record.shard.id: record for record in read_records(tmp_path / "out")}
    for uri, rows in table.groupby("inference_pipeline_model_uri"):
        row = rows.iloc[0]
        found = explain_prediction(str(tmp_path / "out"), row["shard"], row["row"], verify=True)
        arm = records[row["shard"]].arms[found["arm"]]
        assert found["inference_pipeline_model_uri"] == uri
        assert found["asked_version"] == found["computed_by_version"] == arm.model_uri
        assert found["pipeline_fingerprint"] == arm.fingerprint
    rejected = pd.read_parquet(tmp_path / "out" / "rejected")
    (unread,) = rejected[rejected["step"] == "read"].to_dict("records")
    found = explain_prediction(str(tmp_path / "out"), unread["shard"], unread["row"])
    assert found["rejected_by"] == "read"
    assert not {"arm", "asked_version", "engine"} & set(found)


def test_two_versions_that_answer_alike_are_no_split(inbox: Path, tmp_path: Path) -> None:
    control, client = versions()[0], connect()
    alike = client.create_model_version(
        PIPELINE_MODEL,
        source=str(control.source),
        run_id=control.run_id,
        tags=control.tags,
        model_id=str(control.source).removeprefix("models:/"),
    )
    message = rf"^split: models:/{PIPELINE_MODEL}/{alike.version} answers as {CONTROL} of model_uri"
    try:
        with pytest.raises(ParameterError, match=message):
            score_shards.fn([str(inbox)], str(tmp_path / "out"), split=f"{alike.version}=0.1")
    finally:
        client.delete_model_version(PIPELINE_MODEL, alike.version)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        (
            {"split": "challenger"},
            ParameterError,
            "split: 'challenger'; expected a version and its",
        ),
        ({"split": "challenger=1"}, ParameterError, "split: 'challenger=1'; expected a version"),
        (
            {"split": "challenger=nan"},
            ParameterError,
            "split: 'challenger=nan'; expected a version",
        ),
        ({"split": "=0.1"}, ParameterError, "split: '=0.1'; expected a version and its share"),
        ({"split": "a/b=0.1"}, ParameterError, "split: 'a/b'; expected a number, an alias"),
        ({"split": ""}, ParameterError, "split_key: 'customer' without a split; expected split"),
        (
            {"split": "1=0.1"},
            ParameterError,
            f"split: 1 and model_uri are both {CONTROL}; expected",
        ),
        ({"split": "99=0.1"}, ParameterError, f"split: {PIPELINE_MODEL}: no version '99'"),
    ],
)
def test_a_split_that_means_nothing_is_refused_before_any_work(
    inbox: Path,
    tmp_path: Path,
    parameters: dict[str, Any],
    error: type[MillstreamError],
    message: str,
) -> None:
    given = {"inputs": [str(inbox)], "output_dir": str(tmp_path / "out")}
    given |= {"split_key": "customer"}
    with pytest.raises(error, match=f"^{message}") as raised:
        score_shards.fn(**given | parameters)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()
