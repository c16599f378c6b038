"""A dry run tells what a run would do, and writes nothing."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flows.score_shards import score_shards
from tests.support.builders import Trained


def test_dry_run_tells_what_a_run_would_do_and_writes_nothing(
    trained: Trained, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    first = score_shards([str(inputs / "part-0.parquet")], str(output), dry_run=True)
    assert not output.exists()
    assert first["expected_seconds"] is None
    score_shards([str(inputs / "part-0.parquet")], str(output))
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    again = pd.read_parquet(inputs / "part-0.parquet")
    again.to_parquet(inputs / "part-3.parquet")
    told = score_shards([str(inputs)], str(output), dry_run=True)
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before
    expected = {
        "rows": 40,
        "distinct_texts": 18,
        "duplicates": 14,
        "rows_that_cannot_be_scored": 8,
        "shards_total": 4,
        "shards_to_skip": 1,
        "shards_to_score": 3,
        "expected_model_calls": 12,
        "expected_cache_hits": 12,
        "scored_because": {"new": 3},
    }
    assert told.items() >= expected.items()
    assert told["expected_seconds"] > 0
    assert "Dry run: nothing was written" in capsys.readouterr().out
    summary = score_shards([str(inputs)], str(output))
    assert summary["model_calls"] == told["expected_model_calls"]
    assert summary["cache_hits"] == told["expected_cache_hits"]


def test_dry_run_knows_the_language_policy(trained: Trained, tmp_path: Path) -> None:
    french = "Ce film est une merveille, je le recommande à tous mes amis sans hésiter"
    pd.DataFrame({"text": [french, "a film"]}).to_csv(tmp_path / "rows.csv")
    policy: dict[str, Any] = {
        "language_policy": "reject",
        "languages": ["en"],
        "use_cache": False,
    }
    told = score_shards([str(tmp_path / "rows.csv")], str(tmp_path / "o"), dry_run=True, **policy)
    done = score_shards([str(tmp_path / "rows.csv")], str(tmp_path / "o"), **policy)
    assert (told["rows_that_cannot_be_scored"], told["expected_model_calls"]) == (1, 1)
    assert (done["rejected"], done["model_calls"]) == (1, 1)


def test_dry_run_without_the_cache_expects_a_call_a_row(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    told = score_shards([str(inputs)], str(tmp_path / "out"), dry_run=True, use_cache=False)
    assert (told["expected_model_calls"], told["expected_cache_hits"]) == (24, 0)
