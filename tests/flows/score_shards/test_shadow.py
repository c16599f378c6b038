"""A version that answers a sample of the rows in the shadow of a run."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flows.run_requests import ScoringRequest
from tasks.arms.assignment import is_sampled
from tasks.common.errors import DataError, ParameterError
from tasks.output.records import read_records
from tasks.shadow import shard_sample
from tasks.tracking.names import PIPELINE_MODEL
from tests.support.shadows import FRACTION, score_beside, write_inbox

CHAMPION, CHALLENGER = (f"models:/{PIPELINE_MODEL}/{number}" for number in (1, 2))
DAMAGED = f"models:/{PIPELINE_MODEL}/3"

pytestmark = pytest.mark.usefixtures("two_versions")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    return write_inbox(tmp_path / "inbox")


def read(folder: Path, table: str = "predictions") -> pd.DataFrame:
    parts = [pd.read_parquet(path) for path in sorted((folder / table).glob("*.parquet"))]
    return pd.concat(parts, ignore_index=True)


def test_the_challenger_answers_a_sample_that_grows_night_by_night(
    inbox: Path, tmp_path: Path
) -> None:
    output = tmp_path / "scored"
    first = score_beside(inbox, output)["shadow"]["challenger"]
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
    second = score_beside(inbox, output)["shadow"]["challenger"]
    assert second["answered_shards"] == 6
    assert second["rows"] > first["rows"]
    records = {record.shard.id: record.started for record in read_records(shadow)}
    score_beside(inbox, output)
    assert records == {record.shard.id: record.started for record in read_records(shadow)}

    # Another run of another fraction, and without a file.
    (inbox / "two.csv").unlink()
    third = score_beside(inbox, output, shadow_fraction=1.0)["shadow"]["challenger"]
    assert third["answered_rows"] == 61


def test_a_shadow_that_fails_costs_no_row(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise DataError("a broken shard")

    monkeypatch.setattr(shard_sample, "write_sample", fail)
    summary = score_beside(inbox, tmp_path / "scored")
    found = summary["shadow"]["challenger"]
    assert list(found["failures"].values()) == ["a broken shard"] * 3
    assert "answered_shards" not in found
    assert summary["scored"] == 60
    assert not list((tmp_path / "scored").rglob(".staged"))
    monkeypatch.undo()
    assert score_beside(inbox, tmp_path / "scored")["shadow"]["challenger"]["answered_shards"] == 3


def test_a_version_that_cannot_answer_is_named_in_the_summary(inbox: Path, tmp_path: Path) -> None:
    found = score_beside(inbox, tmp_path / "scored", shadow=("99", "1", "previous"))["shadow"]
    assert found["99"]["error"].startswith(f"shadow: {PIPELINE_MODEL}: no version '99'")
    assert found["1"] == {"reason": f"{CHAMPION} answers all rows already"}
    assert found["previous"] == {"reason": "no version was champion before"}
    assert not (tmp_path / "scored" / "shadow").exists()
    manifest = json.loads((tmp_path / "scored" / "manifest.json").read_text())
    assert "shadow" not in manifest


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
