"""What each member of a pipeline learns, and what is held out."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pytest

from tasks.common.settings import get_settings
from tasks.dataset.splitting import digest_text
from tasks.feedback.choosing import is_held_out
from tasks.feedback.chosen import write_chosen, write_labels
from tasks.feedback.collecting import AnsweringModel
from tasks.feedback.types import ChosenFeedback, FeedbackChoices, GivenAnswer
from tasks.tracking import registry
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import PARENT_TAG, RegisteredModel
from tests.support.builders import Composed, use_home
from tests.support.built_once import copied_home
from tests.tasks.feedback.steps import LABELS, take

# The first word is the member that decides.
TEXTS = [f"{'film' if n % 2 else 'quick'} number {n}" for n in range(60)]
MODEL = RegisteredModel(name="dl_finetuned_model", version=1)


@pytest.fixture
def versions(
    composed: Composed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, RegisteredModel]]:
    """The members of a composed version, in a state folder with feedback on its answers."""
    use_home(copied_home(composed.home, tmp_path / "own"), monkeypatch)
    connect()
    file = tmp_path / "feedback.csv"
    labels = ["negative", "positive", "mixed"] * 20
    pd.DataFrame({"text": TEXTS, "label": labels}).to_csv(file, index=False)

    def answer(texts: Sequence[str]) -> list[GivenAnswer | None]:
        return [GivenAnswer("positive", 0.9, composed.uri, text.split()[0]) for text in texts]

    # A label that another member knows, to which the text was not routed.
    model = AnsweringModel((*LABELS, "mixed"), answer)
    assert take(model, feedback=(str(file),)).taken == 60
    yield dict.fromkeys(("film", "quick"), RegisteredModel.from_uri(composed.finetuned))
    get_settings.cache_clear()


def texts_of(found: ChosenFeedback) -> dict[str, set[str]]:
    return {name: set(pd.read_parquet(part.rows)["text"]) for name, part in found.members.items()}


def test_a_member_learns_what_it_decided_and_knows(
    versions: dict[str, RegisteredModel], tmp_path: Path
) -> None:
    found = write_chosen(FeedbackChoices(), versions, tmp_path)
    assert found.labels == 60
    known = {text for n, text in enumerate(TEXTS) if n % 3 != 2}
    assert texts_of(found) == {
        name: {text for text in known if text.startswith(name)} for name in ("film", "quick")
    }
    learnt = sum(member.labels for member in found.members.values())
    assert found.unknown_to_member > 0 == found.undecided
    assert found.held_out + learnt + found.unknown_to_member == 60
    # What no member learns measures as well.
    held_out = pd.read_parquet(found.held_out_rows)
    assert set(held_out["text"]) == {text for text in TEXTS if is_held_out(digest_text(text))}
    assert set(held_out["label"]) == {"negative", "positive", "mixed"}
    assert set(held_out["batch"]) == {"batch-00001"}
    again = write_chosen(FeedbackChoices(), versions, tmp_path)
    assert again.members == found.members


def test_a_member_is_known_by_its_version_and_else_by_its_name(
    versions: dict[str, RegisteredModel], tmp_path: Path
) -> None:
    renamed = {"review": versions["film"], "other": versions["film"]}
    assert set(write_chosen(FeedbackChoices(), renamed, tmp_path).members) == {"review"}
    # Its head has learnt since.
    parent = versions["film"]
    version = registry.get_version(parent.name, parent.version)
    copy = connect().create_model_version(
        parent.name, str(version.source), run_id=version.run_id, tags={PARENT_TAG: parent.uri}
    )
    child = RegisteredModel(name=copy.name, version=int(copy.version))
    learnt = {"review": child, "other": child}
    assert set(write_chosen(FeedbackChoices(), learnt, tmp_path).members) == {"review"}
    # A member that was trained again learns by its name.
    connect().delete_model_version_tag(child.name, str(child.version), PARENT_TAG)
    trained = {"film": child, "other": child}
    found = write_chosen(FeedbackChoices(), trained, tmp_path)
    assert set(found.members) == {"film"}
    assert found.undecided > 0
    # The version that answered as film is called quick now.
    exchanged = {"film": child, "quick": parent}
    found = write_chosen(FeedbackChoices(), exchanged, tmp_path)
    assert (set(found.members), found.undecided) == ({"quick"}, 0)
    # A training of before logged no labels: learning says so, and not the choice.
    run = connect().create_run(connect().create_experiment("before"))
    copy = connect().create_model_version(parent.name, str(version.source), run.info.run_id)
    old = RegisteredModel(name=copy.name, version=int(copy.version))
    found = write_chosen(FeedbackChoices(), {"film": old, "other": old}, tmp_path)
    assert (set(found.members), found.unknown_to_member) == ({"film"}, 0)


def test_a_single_model_learns_all(versions: dict[str, RegisteredModel], tmp_path: Path) -> None:
    found = write_chosen(FeedbackChoices(), {"model": versions["film"]}, tmp_path)
    assert (found.undecided, found.unknown_to_member) == (0, 0)
    assert len(pd.read_parquet(found.members["model"].rows)) == 60
    labels = pd.read_parquet(write_labels(tmp_path))
    assert dict(zip(labels["text_digest"], labels["label"], strict=True)) == {
        digest_text(text): ["negative", "positive", "mixed"][n % 3] for n, text in enumerate(TEXTS)
    }


def test_without_feedback_nobody_learns(home: Path, tmp_path: Path) -> None:
    found = write_chosen(FeedbackChoices(), {"model": MODEL}, tmp_path)
    assert (found.labels, found.members) == (0, {})
    assert pd.read_parquet(write_labels(tmp_path)).empty
