"""Champions come and go by rows that are new to both versions."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow.entities.model_registry import ModelVersion

from flows.promote_pipeline import promote_pipeline
from flows.score_shards import score_shards
from tasks.promotion import aliases, rules
from tasks.promotion.held_out_answers import answer_rows
from tasks.promotion.learnt import judge_learnt
from tasks.tracking import registry
from tests.support.builders import build_unverified, train_unevaluated
from tests.support.films import numbered_reviews

pytestmark = pytest.mark.usefixtures("new_database")

NAME = "inference_pipeline_model"


def score(home: Path, rows: Path, why: str) -> pd.DataFrame:
    """Score `rows` as the time before, with the champion of now."""
    summary = score_shards([str(rows)], str(home / "scored"))
    assert summary["scored"] == 1_400
    assert summary["scored_because"] == {why: 1}
    return pd.read_parquet(home / "scored" / "predictions")


def judge_by_feedback(worse: ModelVersion, better: ModelVersion) -> None:
    """Check who of two versions may replace the other by held-out feedback."""
    film = "the film that we saw last night was"
    words = {"negative": "awful", "positive": "great"}
    feedback = pd.DataFrame(
        [
            (f"{film} {words[label]}, reader {n}", label, f"batch-{1 + n % 2}")
            for n in range(20)
            for label in words
        ],
        columns=["text", "label", "batch"],
    )
    found = judge_learnt(better, worse, feedback=pd.concat([feedback, feedback]))
    assert found.passed, found.reason
    retention = json.loads(str(found.tags["feedback_retention"]))
    assert retention.keys() == {"batch-1", "batch-2"}
    for rows, before, after in retention.values():
        assert (rows, after) == (20, 1.0)
        assert before < 1
    assert found.tags["feedback_test_rows"] == 40
    # Better on the feedback is not enough, nor is to keep what it knew.
    flipped = feedback.assign(
        label=feedback["label"].map(dict(zip(words, [*words][::-1], strict=True)))
    )
    lost = judge_learnt(worse, better, feedback=flipped)
    assert not lost.passed
    assert float(str(lost.tags["feedback_p_value"])) < 0.05
    kept = judge_learnt(better, worse, feedback=flipped)
    assert not kept.passed
    assert kept.reason.endswith("; promote it with python -m flows.promote_pipeline --version 2")
    none = judge_learnt(better, worse, feedback=feedback[:0])
    assert none.reason.startswith("no held-out feedback is new to both")


def test_champions_come_and_go_by_their_answers_to_rows_that_are_new_to_both(
    home: Path, prefect_harness: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = numbered_reviews(tmp_path / "reviews.csv", 1_400)
    train = partial(train_unevaluated, "static", data, test_fraction=0.5)
    # It does not read as far as the word that tells.
    worse = train(max_tokens=8)
    assert build_unverified(worse["finetuned_model"])["alias"] == "champion"
    rows = score(home, data, why="new")
    (old_uri,) = set(rows["inference_pipeline_model_uri"])

    good = train()
    built = build_unverified(good["finetuned_model"])
    assert built["alias"] == "champion"
    version = registry.find_version(NAME, "2")
    assert float(version.tags["accuracy"]) == 1 > float(version.tags["champion_accuracy"])
    assert (version.tags["champion_version"], version.tags["promotion_rule"]) == ("1", "if_better")
    assert float(version.tags["p_value"]) < 1e-6
    assert version.tags["promotion_reason"] == built["reason"]
    assert "of champion 1, on " in str(built["reason"])
    # No answer of an earlier champion is given as the new one's.
    rows = score(home, data, why="the model changed")
    assert old_uri not in set(rows["inference_pipeline_model_uri"])
    assert not rows["cached"].any()

    judge_by_feedback(registry.find_version(NAME, "1"), version)

    # An equal version does not take its place, so that nothing is scored again.
    equal = train(sample_size=500)
    for _ in range(2):
        third = build_unverified(equal["finetuned_model"])
        assert third["alias"] == "challenger"
        assert str(third["reason"]).endswith(
            "if_better: 0 rows are right with it alone and 0 without, p = 1; expected below 0.05"
        )
    assert registry.get_aliases(NAME) == {"champion": 2, "challenger": 3}
    assert score_shards([str(data)], str(home / "scored"))["shards_skipped"] == 1
    never = build_unverified(equal["finetuned_model"], "never")
    assert never["reason"] == (
        "promotion is never; promote it with python -m flows.promote_pipeline --version 3"
    )
    freshest = build_unverified(equal["finetuned_model"], "if_not_worse")
    assert freshest["alias"] == "champion"
    assert "if_not_worse: the difference is -0." in str(freshest["reason"])
    assert registry.get_aliases("dl_finetuned_model") == {"champion": 3}

    # A version that is worse is built again, and compared with the champion of now.
    again = build_unverified(worse["finetuned_model"], "if_not_worse", max_tokens=9)
    assert again["alias"] == "challenger"
    assert "of champion 3" in str(again["reason"])
    assert registry.get_aliases("dl_finetuned_model") == {"champion": 3, "challenger": 1}

    promote_pipeline(version="1", reason="it was better")
    # Its answers are still there.
    rows = score(home, data, why="the model changed")
    assert set(rows["inference_pipeline_model_uri"]) == {old_uri}
    assert rows["cached"].all()
    assert registry.find_version(NAME, "1").tags["promotion_reason"] == "it was better"
    # A schedule that builds the replaced version again does not undo that.
    again = build_unverified(equal["finetuned_model"])
    assert again["alias"] is None
    assert "version 1 replaced it as champion by hand" in str(again["reason"])
    assert registry.get_aliases(NAME)["champion"] == 1
    aliases.promote_by_hand("previous", "it was not")
    assert registry.get_aliases(NAME)["champion"] == 3
    aliases.promote_by_hand("challenger", "why not")
    assert registry.get_aliases(NAME) == {"champion": 4}

    # Who is chosen by hand during a comparison is compared with as well.
    answer = answer_rows
    asked: list[str] = []

    def chosen_meanwhile(rows: pd.DataFrame, new: ModelVersion, old: ModelVersion) -> Any:
        if not asked:
            aliases.promote_by_hand("2", "meanwhile")
        asked.append(f"{new.version} {old.version}")
        return answer(rows, new, old)

    monkeypatch.setattr(rules, "answer_rows", chosen_meanwhile)
    last = build_unverified(equal["finetuned_model"], max_tokens=24)
    assert asked == ["5 4", "5 2"]
    assert "of champion 2, on" in str(last["reason"])
