"""A version that answers a sample of the rows in the shadow of a run."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flows.compare_shadow import compare_shadow
from flows.promote_pipeline import promote_pipeline
from flows.run_requests import ScoringRequest
from flows.score_shards import score_shards
from flows.watch_champion import watch_champion
from tasks.common.errors import DataError, ParameterError, SupersededError
from tasks.common.settings import get_settings
from tasks.feedback.collecting import collect
from tasks.feedback.model_answers import load_answering_model
from tasks.feedback.types import FeedbackRequest
from tasks.output.records import read_records
from tasks.shadow import shard_sample
from tasks.shadow.sampling import is_sampled
from tasks.tracking import registry
from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import FINETUNED_MODEL, PIPELINE_MODEL, RegisteredModel
from tests.support.builders import build_unverified, damage_head, use_home
from tests.support.built_once import copied_home

CHAMPION, CHALLENGER = (f"models:/{PIPELINE_MODEL}/{number}" for number in (1, 2))
DAMAGED = f"models:/{PIPELINE_MODEL}/3"
FRACTION = 0.4

pytestmark = pytest.mark.usefixtures("two_versions")


@pytest.fixture
def own_home(two_versions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A state folder of the test alone, which moves aliases."""
    use_home(copied_home(two_versions, tmp_path / "var"), monkeypatch)
    connect()
    yield
    get_settings.cache_clear()


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """Rows that the challenger, which reads eight tokens, answers in another way; a broken line."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    write_rows(folder / "one.csv", 60)
    with (folder / "one.csv").open("a") as file:
        file.write(',61,positive\n"open,62,negative\n')
    return folder


def write_rows(path: Path, rows: int) -> None:
    texts = [
        f"film {n}, {path.stem}, film {n}, a {('great', 'awful')[n % 2]} one" for n in range(rows)
    ]
    table = {"text": texts, "id": range(rows), "label": ["positive", "negative"] * (rows // 2)}
    pd.DataFrame(table).to_csv(path, index=False)


def score(inbox: Path, output: Path, **parameters: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "shadow": ("challenger",),
        "shadow_fraction": FRACTION,
        "shard_rows": 25,
        "label_column": "label",
    }
    summary: dict[str, Any] = score_shards([str(inbox)], str(output), **settings | parameters)
    return summary


def read(folder: Path, table: str = "predictions") -> pd.DataFrame:
    parts = [pd.read_parquet(path) for path in sorted((folder / table).glob("*.parquet"))]
    return pd.concat(parts, ignore_index=True)


def test_the_challenger_answers_a_sample_that_grows_night_by_night(
    inbox: Path, tmp_path: Path
) -> None:
    output = tmp_path / "scored"
    first = score(inbox, output)["shadow"]["challenger"]
    shadow = output / "shadow" / "version-2"
    answered, own = read(shadow), read(output)
    expected = own[[is_sampled(text, FRACTION) for text in own["text"]]]
    assert 10 < len(answered) < 40
    assert set(answered["id"]) == set(expected["id"])
    pd.testing.assert_frame_equal(
        answered.sort_values("id")[["text", "id", "label", "shard", "row"]].reset_index(drop=True),
        expected.sort_values("id")[["text", "id", "label", "shard", "row"]].reset_index(drop=True),
    )
    assert {record.model_uri for record in read_records(shadow)} == {CHALLENGER}
    assert first["version"] == CHALLENGER
    assert first["answered_rows"] == first["rows"] == len(answered) + len(read(shadow, "rejected"))
    assert (first["answered_shards"], first["days"]) == (3, 1)
    assert 0 < first["flips"] == round((1 - first["agreement"]) * len(answered))
    assert first["report"].endswith("/report.html")

    (inbox / "two.csv").write_text((inbox / "one.csv").read_text().replace("one,", "two,"))
    second = score(inbox, output)["shadow"]["challenger"]
    assert second["answered_shards"] == 6
    assert second["rows"] > first["rows"]
    records = {record.shard.id: record.started for record in read_records(shadow)}
    score(inbox, output)
    assert records == {record.shard.id: record.started for record in read_records(shadow)}

    # Another run of another fraction, and without a file.
    (inbox / "two.csv").unlink()
    third = score(inbox, output, shadow_fraction=1.0)["shadow"]["challenger"]
    assert third["answered_rows"] == 61


def test_a_shadow_that_fails_costs_no_row(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise DataError("a broken shard")

    monkeypatch.setattr(shard_sample, "write_sample", fail)
    summary = score(inbox, tmp_path / "scored")
    found = summary["shadow"]["challenger"]
    assert list(found["failures"].values()) == ["a broken shard"] * 3
    assert "answered_shards" not in found
    assert summary["scored"] == 60
    assert not list((tmp_path / "scored").rglob(".staged"))
    monkeypatch.undo()
    assert score(inbox, tmp_path / "scored")["shadow"]["challenger"]["answered_shards"] == 3


def test_a_version_that_cannot_answer_is_named_in_the_summary(inbox: Path, tmp_path: Path) -> None:
    found = score(inbox, tmp_path / "scored", shadow=("99", "1", "previous"))["shadow"]
    assert found["99"]["error"].startswith(f"shadow: {PIPELINE_MODEL}: no version '99'")
    assert found["1"] == {"reason": f"{CHAMPION} answers all rows already"}
    assert found["previous"] == {"reason": "no version was champion before"}
    assert not (tmp_path / "scored" / "shadow").exists()
    manifest = json.loads((tmp_path / "scored" / "manifest.json").read_text())
    assert "shadow" not in manifest


def test_a_challenger_is_judged_by_its_shadow_and_a_worse_champion_is_taken_back(
    own_home: None, inbox: Path, tmp_path: Path
) -> None:
    write_rows(inbox / "many.csv", 240)
    damaged = damage_head(RegisteredModel(name=FINETUNED_MODEL, version=1))
    built = build_unverified(damaged.uri, "never")
    assert built["inference_pipeline_model"] == DAMAGED
    output = tmp_path / "scored"
    settings: dict[str, Any] = {"promotion": "if_better", "label_column": "label"}
    assert compare_shadow(empty_output(tmp_path))["reason"].endswith(f"that {CHAMPION} answered")
    score(inbox, output, shadow_fraction=1.0)
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
    found = score(inbox, output, shadow_fraction=1.0, shadow=("previous",))["shadow"]
    assert found["previous"]["version"] == CHAMPION
    # Without a label column, those of feedback count.
    unlabelled = {"shadow_fraction": 1.0, "shadow": ("previous",), "label_column": None}
    score(inbox, output, **unlabelled)
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
        score(inbox, output, model_uri="3", while_champion=True)
    back = score(inbox, output, model_uri="1", while_champion=True, shadow=())
    assert back["cache_hits"] == back["scored"] == 300

    # What was taken back does not come back by itself, whatever is said of it.
    score(inbox, output, shadow_fraction=1.0, shadow=("previous",))
    again: dict[str, Any] = watch_champion(str(output), max_flips=0.01)
    assert again["reason"] == "version 3 was taken back before"


def empty_output(tmp_path: Path) -> str:
    folder = tmp_path / "empty"
    (folder / "records").mkdir(parents=True)
    return str(folder)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"shadow": ["no such!"]}, r"^shadow: 'no such!'; expected a number"),
        ({"shadow": ["2", "2"]}, r"^shadow: \['2', '2'\]; expected each version once"),
        ({"shadow": ["2"], "split": "2=0.1"}, r"^shadow: beside the split '2=0.1'"),
    ],
)
def test_what_cannot_be_a_shadow_is_refused_before_anything_starts(
    given: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ParameterError, match=problem):
        ScoringRequest(inputs=["a.csv"], **given)
