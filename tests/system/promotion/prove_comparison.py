"""Two versions are compared on the same files: scored, counted, measured and reported."""

import json
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from flows.compare_pipelines import compare_pipelines
from flows.promote_pipeline import promote_pipeline
from tasks.tracking import registry
from tasks.tracking.mlflow_client import connect, ensure_experiment
from tasks.tracking.names import PIPELINE_MODEL, SCORING_EXPERIMENT


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """Rows that the challenger, which reads eight tokens, cannot tell apart."""
    path = tmp_path / "reviews.csv"
    words = ("great", "awful")
    texts = [f"a film, number {n}, a {words[n % 2]}, {words[n % 2]} film" for n in range(240)]
    labels = ["positive", "negative"] * 120
    pd.DataFrame({"text": texts, "label": labels}).to_csv(path, index=False)
    return path


def scoring_runs() -> set[str]:
    experiment = ensure_experiment(SCORING_EXPERIMENT)
    return {run.info.run_id for run in connect().search_runs([experiment])}


def test_versions_are_compared_on_files_and_again_from_their_outputs(
    own_versions: None, reviews: Path, tmp_path: Path
) -> None:
    folder = str(tmp_path / "compared")
    before = scoring_runs()  # of other tests, in the state folder that this one copied
    ballast = b"1" * 2**30  # of the process that starts the measuring one, which must not count
    report: dict[str, Any] = compare_pipelines(
        [str(reviews)],
        output_dir=folder,
        label_column="label",
        shard_rows=100,
        promotion="if_better",
    )
    assert report["champion"] == f"models:/{PIPELINE_MODEL}/1"
    assert report["challenger"] == f"models:/{PIPELINE_MODEL}/2"
    assert (report["rows"], report["scored_by_both"], report["labelled"]) == (240, 240, 240)
    assert 0 < report["flips"] < 240
    assert report["agreement"] == pytest.approx(1 - report["flips"] / 240)
    assert report["accuracy_of_present"] > report["accuracy_of_other"]
    assert report["p_value"] > 0.99
    assert report["alias"] == "challenger"
    runs = scoring_runs() - before
    assert len(runs) == 2
    assert not any(connect().list_artifacts(run, "predictions") for run in runs)
    assert ", repeated_p_value = 1; expected below 0.05; promote it with" in report["reason"]
    for measure in ("rows_per_second", "batch_p95_ms", "peak_mib"):
        for side in ("present", "other"):
            assert report[f"{measure}_of_{side}"] > 0
    assert report["peak_mib_of_other"] < len(ballast) / 2**20

    version = connect().get_model_version(PIPELINE_MODEL, "2")
    assert version.tags["compared_with"] == report["champion"]
    assert version.tags["compared_flips"] == str(report["flips"])
    run_id = version.tags["comparison_run_id"]
    assert report["report"].endswith(f"/runs/{run_id}/artifacts/report.html")
    page = mlflow.artifacts.load_text(f"runs:/{run_id}/report.html")
    record = json.loads(mlflow.artifacts.load_text(f"runs:/{run_id}/comparison.json"))
    assert record["comparison"]["flips"] == report["flips"]
    (flip, *_), text = record["comparison"]["examples"], "a film, number "
    assert flip["text"].startswith(text)
    assert text in page
    assert "exact test of McNemar" in page

    outputs = (f"{folder}/champion", f"{folder}/challenger")
    # One that was promoted by hand, and is worse, is replaced again by the other's answers.
    promote_pipeline("2", "a mistake")
    again: dict[str, Any] = compare_pipelines(
        outputs=outputs[::-1], examples=0, promotion="if_better", max_flips=0.9
    )
    same = ("rows", "flips", "agreement")
    assert {name: again[name] for name in same} == {name: report[name] for name in same}
    assert again["repeated_p_value"] < 1e-3
    assert again["alias"] == "champion"
    assert registry.get_aliases(PIPELINE_MODEL)["champion"] == 1
    run_id = connect().get_model_version(PIPELINE_MODEL, "1").tags["comparison_run_id"]
    for name in ("report.html", "comparison.json"):
        assert text not in mlflow.artifacts.load_text(f"runs:/{run_id}/{name}")
