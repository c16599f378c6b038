"""Feedback on what real versions answered: each arm of a split, and members of a composed one."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flows.score_shards import score_shards
from tasks.common.errors import ParameterError
from tasks.common.settings import get_settings
from tasks.feedback.choosing import load_feedback
from tasks.feedback.prefect_tasks import collect_feedback
from tasks.feedback.types import FeedbackChoices, FeedbackRequest
from tasks.output.records import read_records
from tasks.tracking.names import PIPELINE_MODEL
from tests.support.builders import Composed

TEXTS = [f"a {('great', 'awful')[row % 2]} film, number {row}" for row in range(40)]


def score(tmp_path: Path, **parameters: Any) -> tuple[Path, pd.DataFrame]:
    """Score rows of twenty customers; return the output folder and its predictions."""
    pd.DataFrame({"text": TEXTS, "customer": range(40)}).to_csv(tmp_path / "rows.csv", index=False)
    output = tmp_path / "scored"
    score_shards([str(tmp_path / "rows.csv")], str(output), **parameters)
    return output, pd.read_parquet(output / "predictions")


def answers_to(rows: pd.DataFrame, output: Path, model_uri: str) -> pd.DataFrame:
    """Give rows a label, collect them, and return what the store has, by text."""
    file = output.with_name("labels.csv")
    rows.assign(label="positive").to_csv(file, index=False)
    request = FeedbackRequest(feedback=[str(file)], scored=str(output))
    found = collect_feedback.fn(request, model_uri)
    assert (found.taken, found.refused) == (len(rows), {})
    store = get_settings().feedback_store
    stored = load_feedback(store, FeedbackChoices()).rows
    shutil.rmtree(store)  # tests share the state folder
    return stored.set_index("text")


@pytest.mark.usefixtures("two_versions")
def test_answers_are_those_of_the_arm_or_of_the_champion(tmp_path: Path) -> None:
    output, predictions = score(tmp_path, split="challenger=0.4", split_key="customer")
    (record,) = read_records(output)
    texts = pd.DataFrame({"text": ["an awful film, not scored", "a great film, not scored"]})
    labels = pd.concat([predictions[["shard", "row"]], texts])
    rows = answers_to(labels, output, "champion")
    of_scoring = rows.loc[TEXTS]
    assert Counter(of_scoring["model_uri"]) == {
        arm.model_uri: arm.counts.scored for arm in record.arms.values()
    }
    computed_by = predictions.set_index("text")["inference_pipeline_model_uri"]
    assert len(set(zip(of_scoring["model_uri"], computed_by.loc[TEXTS], strict=True))) == 2
    answers = predictions.set_index("text").loc[TEXTS]
    assert of_scoring["answered_label"].tolist() == answers["prediction_label"].tolist()
    assert of_scoring["answered_score"].tolist() == answers["prediction_score"].tolist()
    assert set(rows.loc[texts["text"], "model_uri"]) == {f"models:/{PIPELINE_MODEL}/1"}
    with pytest.raises(ParameterError, match=r"^model_uri: .*: no version 'gone'"):
        collect_feedback.fn(FeedbackRequest(), "gone")


def test_members_are_those_that_decided(composed: Composed, tmp_path: Path) -> None:
    output, predictions = score(tmp_path, model_uri=composed.uri)
    labels = pd.concat([predictions[["shard", "row"]], pd.DataFrame({"text": ["a new film"]})])
    rows = answers_to(labels, output, composed.uri)
    members = predictions.set_index("text")["prediction_decided_by"]
    assert rows.loc[TEXTS, "member"].tolist() == members.loc[TEXTS].tolist()
    assert rows.loc["a new film", "member"] in set(members)
