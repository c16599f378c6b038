"""A challenger is judged in the shadow of scoring, and a champion that is worse is taken back."""

from pathlib import Path
from typing import Any

import pytest

from flows.compare_shadow import compare_shadow
from flows.promote_pipeline import promote_pipeline
from flows.watch_champion import watch_champion
from tasks.common.errors import SupersededError
from tasks.feedback.collecting import collect
from tasks.feedback.model_answers import load_answering_model
from tasks.feedback.types import FeedbackRequest
from tasks.tracking import registry
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import FINETUNED_MODEL, PIPELINE_MODEL, RegisteredModel
from tests.support.builders import build_unverified, damage_head
from tests.support.shadows import score_beside, write_inbox, write_rows

CHAMPION, DAMAGED = (f"models:/{PIPELINE_MODEL}/{number}" for number in (1, 3))


def test_a_challenger_is_judged_by_its_shadow_and_a_worse_champion_is_taken_back(
    own_versions: None, tmp_path: Path
) -> None:
    inbox = write_inbox(tmp_path / "inbox")
    write_rows(inbox / "many.csv", 240)
    damaged = damage_head(RegisteredModel(name=FINETUNED_MODEL, version=1))
    built = build_unverified(damaged.uri, "never")
    assert built["inference_pipeline_model"] == DAMAGED
    output = tmp_path / "scored"
    settings: dict[str, Any] = {"promotion": "if_better", "label_column": "label"}
    assert compare_shadow(empty_output(tmp_path))["reason"].endswith(f"that {CHAMPION} answered")
    score_beside(inbox, output, shadow_fraction=1.0)
    judged: dict[str, Any] = compare_shadow(str(output), **settings, min_days=2)
    assert (judged["rows"], judged["labelled"]) == (301, 300)
    assert judged["accuracy_of_present"] > judged["accuracy_of_other"]
    assert judged["alias"] == "challenger"
    assert "; min_days: 1; expected 2 at least; promote it with" in judged["reason"]
    assert judged["rows_per_second_of_other"] > 0

    # Somebody promotes it all the same: the one before answers a sample, and comes back once.
    promote_pipeline("3", "a mistake")
    assert compare_shadow(str(output), **settings)["reason"] == "no version is challenger"
    assert watch_champion(str(output))["reason"].endswith(f"rows that {DAMAGED} answered")
    found = score_beside(inbox, output, shadow_fraction=1.0, shadow=("previous",))["shadow"]
    assert found["previous"]["version"] == CHAMPION
    # Without a label column, those of feedback count.
    unlabelled = {"shadow_fraction": 1.0, "shadow": ("previous",), "label_column": None}
    score_beside(inbox, output, **unlabelled)
    assert watch_champion(str(output))["taken_back"] is False
    collect(FeedbackRequest(feedback=(str(inbox / "many.csv"),)), load_answering_model(DAMAGED))
    watched: dict[str, Any] = watch_champion(str(output))
    assert watched["labelled"] == 240
    assert watched["taken_back"], watched["reason"]
    assert registry.get_aliases(PIPELINE_MODEL)["champion"] == 1
    tags = connect().get_model_version(PIPELINE_MODEL, "1").tags
    assert tags["promotion_reason"].startswith("version 3 was taken back; beside version 1, champ")

    # A re-scoring that waited for the version that was taken back has nothing to do any more.
    with pytest.raises(SupersededError, match=r"/3 is not champion any more; version 1 is"):
        score_beside(inbox, output, model_uri="3", while_champion=True)
    back = score_beside(inbox, output, model_uri="1", while_champion=True, shadow=())
    assert back["cache_hits"] == back["scored"] == 300

    # What was taken back does not come back by itself, whatever is said of it.
    score_beside(inbox, output, shadow_fraction=1.0, shadow=("previous",))
    again: dict[str, Any] = watch_champion(str(output), max_flips=0.01)
    assert again["reason"] == "version 3 was taken back before"


def empty_output(tmp_path: Path) -> str:
    folder = tmp_path / "empty"
    (folder / "records").mkdir(parents=True)
    return str(folder)
