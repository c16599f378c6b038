"""A champion with rules learns, a composed one in the member that decided."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flows.build_inference_pipeline import build_inference_pipeline
from flows.learn_from_feedback import learn_from_feedback
from flows.score_shards import score_shards
from tasks.tracking import registry
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import FINETUNED_MODEL, PIPELINE_MODEL, RegisteredModel
from tasks.tracking.pipeline_members import origins_of
from tests.support.builders import train_unevaluated
from tests.support.films import NEW, TRAINED, films

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("new_database", "prefect_harness")]

QUICK = {"fine": "positive", "dull": "negative"}

RULES = """
import pandas as pd


def after(rows):
    return pd.DataFrame({"queue": rows["prediction_label"].map({"negative": "urgent"})})
"""


def train(folder: Path, name: str, words: dict[str, str], rows: int, test_fraction: float) -> str:
    path = folder / f"{name}.csv"
    films(words, range(rows)).to_csv(path, index=False)
    report = train_unevaluated("static", path, test_fraction=test_fraction)
    return str(report["finetuned_model"])


def members_of(uri: str) -> dict[str, str]:
    version = RegisteredModel.from_uri(uri)
    found = connect().get_model_version(version.name, str(version.version))
    return {name: origin.finetuned_model_uri for name, origin in origins_of(found).items()}


def decisions(folder: Path) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(path) for path in (folder / "predictions").glob("*.parquet")])


def test_a_single_model_with_rules_learns_and_keeps_them(tmp_path: Path) -> None:
    film = train(tmp_path, "film", TRAINED, 400, 0.6)
    (tmp_path / "rules.py").write_text(RULES)
    composition = tmp_path / "single.yaml"
    composition.write_text(
        f"members:\n  sentiment: {{model: {film}}}\nanswer: sentiment\nrules: rules.py\n"
    )
    assert build_inference_pipeline(composition=str(composition))["alias"] == "champion"
    feedback = tmp_path / "feedback.csv"
    films(NEW, range(400, 500)).to_csv(feedback, index=False)
    report: dict[str, Any] = learn_from_feedback((str(feedback),), escalate=True)
    assert report["alias"] == "champion", report["reason"]
    (learnt,) = report["finetuned_models"].values()
    assert members_of(f"models:/{PIPELINE_MODEL}/2") == {"model": learnt} != {"model": film}
    again: dict[str, Any] = learn_from_feedback((str(feedback),))
    assert again["reason"].endswith("the champion, has learnt all labels")


def test_the_member_that_decided_learns_and_the_rest_stays(tmp_path: Path) -> None:
    quick = train(tmp_path, "quick", QUICK, 100, 0.1)
    film = train(tmp_path, "film", TRAINED, 400, 0.6)
    (tmp_path / "rules.py").write_text(RULES)
    composition = tmp_path / "composed.yaml"
    composition.write_text(
        f"members:\n  quick: {{model: {quick}}}\n  film: {{model: {film}}}\n"
        "answer: {cascade: [quick, film], least: 0.9}\nrules: rules.py\n"
    )
    built = build_inference_pipeline(composition=str(composition))
    assert built["alias"] == "champion"

    rows = tmp_path / "rows.csv"
    films(NEW, range(400, 500)).drop(columns="label").to_csv(rows, index=False)
    scored = str(tmp_path / "scored")
    score_shards([str(rows)], scored)
    before = decisions(tmp_path / "scored")
    assert set(before["prediction_decided_by"]) == {"film"}
    feedback = tmp_path / "feedback.csv"
    right = films(NEW, range(400, 500)).set_index("text")["label"]
    labels = [right[text] for text in before["text"]]
    before[["shard", "row"]].assign(label=labels).to_csv(feedback, index=False)

    report: dict[str, Any] = learn_from_feedback((str(feedback),), scored=scored)
    assert (report["taken_in"], report["alias"]) == (200, "champion"), report["reason"]
    assert list(report["finetuned_models"]) == ["film"]
    learnt = f"models:/{FINETUNED_MODEL}/3"
    assert members_of(f"models:/{PIPELINE_MODEL}/2") == {"quick": quick, "film": learnt}
    assert registry.get_aliases(PIPELINE_MODEL) == {"champion": 2}

    again = tmp_path / "again"
    score_shards([str(rows)], str(again))
    after = decisions(again)
    assert (after["prediction_label"] == after["text"].map(right)).mean() > 0.9
    assert (after["decision_queue"].notna() == (after["prediction_label"] == "negative")).all()
