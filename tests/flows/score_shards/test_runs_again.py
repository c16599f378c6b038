"""What is done is not done twice, and what is no longer as recorded is."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flows.explain_prediction import explain_prediction
from flows.score_shards import score_shards
from tasks.common.files import sha256_of
from tasks.output.records import read_record, read_records
from tasks.scoring import summary as summaries
from tests.support.builders import Trained


def made(summary: dict[str, Any]) -> tuple[int, ...]:
    avoided = summary["model_calls_avoided"]
    own = (avoided["deduplication"], avoided["cache"], avoided["resume"])
    assert summary["model_calls"] + sum(own) == summary["scored"]
    assert summary["cache_hits"] == own[0] + own[1]
    return (summary["model_calls"], *own)


def test_equal_texts_are_predicted_once_in_a_run_and_never_again_after_it(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    for part in (1, 2):  # all three shards are equal
        (inputs / f"part-{part}.parquet").write_bytes((inputs / "part-0.parquet").read_bytes())
    first = made(score_shards([str(inputs)], str(tmp_path / "out"), workers=3))
    assert first[0] == 6
    assert first[1] + first[2] == 18
    assert made(score_shards([str(inputs)], str(tmp_path / "other"), batch_tokens=16)) == (
        0,
        0,
        24,
        0,
    )
    without = score_shards([str(inputs)], str(tmp_path / "other"), resume=False, use_cache=False)
    assert made(without) == (24, 0, 0, 0)
    assert not pd.read_parquet(tmp_path / "other" / "predictions")["cached"].any()


def test_second_run_skips_what_is_done_and_says_so(
    trained: Trained, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summaries, "STEADY_CALLS", 1)
    first = score_shards([str(inputs)], str(tmp_path / "out"), use_cache=False)
    published = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/*.*")}
    assert len(published) == 9
    second = score_shards([str(inputs)], str(tmp_path / "out"), use_cache=False)
    assert made(second) == (0, 0, 0, 24)
    assert second["seconds_saved"] > 0
    assert (second["shards_done"], second["shards_skipped"]) == (3, 3)
    same = ("rows_in", "scored", "rejected", "labels", "languages", "rejected_because")
    assert {name: first[name] for name in same} == {name: second[name] for name in same}
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/*.*")} == published


def alter_the_input(folder: Path, output: Path) -> dict[str, Any]:
    table = pd.read_parquet(folder / "part-1.parquet")
    table.loc[0, "text"] = "another film"
    table.to_parquet(folder / "part-1.parquet")
    return {}


def delete_the_predictions(folder: Path, output: Path) -> dict[str, Any]:
    next(output.glob("predictions/part-1-*")).unlink()
    return {}


def alter_the_rejects(folder: Path, output: Path) -> dict[str, Any]:
    with next(output.glob("rejected/part-1-*")).open("ab") as file:
        file.write(b"more")
    return {}


def cut_the_record(folder: Path, output: Path) -> dict[str, Any]:
    record = next(output.glob("records/part-1-*"))
    record.write_bytes(record.read_bytes()[:100])
    return {}


def delete_the_record(folder: Path, output: Path) -> dict[str, Any]:
    next(output.glob("records/part-1-*")).unlink()
    return {}


def change_nothing_that_matters(folder: Path, output: Path) -> dict[str, Any]:
    return {
        "batch_tokens": 16,
        "workers": 1,
        "use_cache": False,
        "max_failed_shards": 1,
        "label_column": "",
        "languages": ["en"],
        "language_threshold": 0.5,
    }


def ask_for_a_flag(folder: Path, output: Path) -> dict[str, Any]:
    return {"language_policy": "flag", "languages": ["en"]}


def ask_to_start_over(folder: Path, output: Path) -> dict[str, Any]:
    return {"resume": False}


def ask_for_other_ranges(folder: Path, output: Path) -> dict[str, Any]:
    return {"shard_rows": 9}


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        (alter_the_input, {"the input changed": 1}),
        (delete_the_predictions, {"its predictions file is missing": 1}),
        (alter_the_rejects, {"its rejected file was altered": 1}),
        (cut_the_record, {"its record is damaged": 1}),
        (delete_the_record, {"new": 1}),
        (change_nothing_that_matters, {}),
        (ask_for_a_flag, {"the parameters changed": 3}),
        (ask_to_start_over, {"resume is false": 3}),
        (ask_for_other_ranges, {"the row range changed": 3, "new": 3}),
    ],
)
def test_what_is_no_longer_as_recorded_is_scored_again_and_the_summary_says_why(
    scored: tuple[Path, Path],
    change: Callable[[Path, Path], dict[str, Any]],
    reasons: dict[str, int],
) -> None:
    inputs, output = scored
    parameters = change(inputs, output)
    summary = score_shards([str(inputs)], str(output), **parameters)
    assert summary["scored_because"] == reasons
    assert (summary["rows_in"], summary["scored"], summary["rejected"]) == (30, 24, 6)
    rows = pd.concat([pd.read_parquet(output / folder) for folder in ("predictions", "rejected")])
    assert len(rows) == 30
    assert not rows.duplicated(["id", "shard"]).any()


def test_another_way_to_read_the_text_scores_a_file_again(trained: Trained, tmp_path: Path) -> None:
    path, output = tmp_path / "rows.csv", tmp_path / "out"
    path.write_text(" Text ;id\nein café;1\nzwei Filme;2\n", encoding="cp1252")
    options: dict[str, Any] = {"inputs": [str(path)], "output_dir": str(output)}
    assert score_shards(**options, encoding="cp1252")["scored"] == 2
    columns = list(pd.read_parquet(output / "predictions").columns)
    assert columns[:3] == [" Text ", "id", "shard"]
    (record,) = read_records(output)
    assert record.shard.read_as == "cp1252, separator ';'"
    traced = explain_prediction(str(output), record.shard.id, 1, verify=True)
    assert traced["text"] == "ein café"
    # Python knows one encoding by several names, and what is found needs no option.
    same = score_shards(**options, encoding="windows-1252", separator=";")
    assert (same["shards_skipped"], same["scored_because"]) == (1, {})
    other = score_shards(**options)
    assert other["scored_because"] == {"separator, encoding or header changed": 1}
    assert other["rejected_because"] == {"read: not UTF-8": 1}


def test_ranges_that_a_file_no_longer_has_are_removed_and_other_files_stay(
    trained: Trained, inputs: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    score_shards([str(inputs)], str(output), shard_rows=4)
    assert len(list(output.glob("predictions/*"))) == 9
    pd.read_parquet(inputs / "part-1.parquet").head(3).to_parquet(inputs / "part-1.parquet")
    (inputs / "part-2.parquet").unlink()
    assert score_shards([str(inputs)], str(output), shard_rows=4)["rows_in"] == 13
    for folder in ("predictions", "rejected", "records"):
        names = sorted(path.name[:6] for path in (output / folder).iterdir())
        assert names == ["part-0"] * 3 + ["part-1"] + ["part-2"] * 3


def test_links_and_pipes_in_the_output_cost_nobody_a_file_or_a_night(
    scored: tuple[Path, Path], tmp_path: Path
) -> None:
    """Others may write to the folder."""
    (inputs, output), others = scored, tmp_path / "others"
    others.mkdir()
    (others / "thesis").touch()
    (output / ".staged").rmdir() if (output / ".staged").exists() else None
    (output / ".staged").symlink_to(others)
    (output / ".folder.draft").mkdir()
    record = min((output / "records").iterdir())
    record.unlink()
    os.mkfifo(record)
    (output / "manifest.json").unlink()
    os.mkfifo(output / "manifest.json")
    again = score_shards([str(inputs)], str(output))
    assert (others / "thesis").exists()
    assert (again["rows_in"], again["scored"]) == (30, 24)
    assert again["scored_because"] == {"its record is damaged": 1}


def test_what_a_killed_run_left_is_cleared_away(scored: tuple[Path, Path]) -> None:
    inputs, output = scored
    left = [
        output / "predictions" / ".part-0.parquet.123.draft",
        output / "records" / ".part-0.json.123.draft",
        output / ".manifest.json.123.draft",
        output / ".staged" / "part-0-00001.arrow",
    ]
    left[-1].parent.mkdir(exist_ok=True)
    for path in left:
        path.touch()
    score_shards([str(inputs)], str(output))
    assert not [path for path in left if path.exists()]


def test_copy_in_another_format_costs_no_scoring_and_is_of_the_tables_that_are_there(
    scored: tuple[Path, Path],
) -> None:
    inputs, output = scored
    given = [str(inputs)]
    tables = {path: path.read_bytes() for path in output.glob("*/*.parquet")}
    copied = score_shards(given, str(output), output_format="csv")
    assert (copied["shards_skipped"], copied["model_calls"]) == (3, 0)
    assert {path: path.read_bytes() for path in tables} == tables
    copies = {path: path.stat().st_mtime_ns for path in output.glob("*_csv/*.csv")}
    assert len(copies) == 6
    for path in output.glob("predictions_csv/*"):
        table = pd.read_parquet(output / "predictions" / f"{path.stem}.parquet")
        record = read_record(output, path.stem)
        assert record is not None
        assert record.files["predictions_csv"] == sha256_of(path)
        assert pd.read_csv(path)["text"].tolist() == table["text"].tolist()
    score_shards(given, str(output), output_format="csv")
    assert {path: path.stat().st_mtime_ns for path in output.glob("*_csv/*.csv")} == copies

    # One is altered; of another file the input is, and this run makes no copies.
    next(output.glob("predictions_csv/part-0-*")).write_text("")
    alter_the_input(inputs, output)
    (inputs / "part-2.parquet").unlink()
    again = score_shards(given, str(output))
    assert again["shards_skipped"] == 1
    assert not [*output.glob("*_csv/part-1-*")]
    score_shards(given, str(output), output_format="csv")
    assert "another film" in next(output.glob("predictions_csv/part-1-*")).read_text()
    assert next(output.glob("predictions_csv/part-0-*")).read_text()
    assert not [*output.rglob("*.draft")]


def test_rows_to_review_are_counted_and_go_with_their_shard(scored: tuple[Path, Path]) -> None:
    inputs, output = scored
    summary = score_shards([str(inputs)], str(output), review_below=1.0)
    assert summary["scored_because"] == {"the parameters changed": 3}
    assert (summary["needs_review"], summary["model_calls"]) == (24, 0)
    assert len([*output.glob("review/*.csv")]) == 3
    # A file that is taken away to be labelled changes nothing.
    next(output.glob("review/part-0-*")).unlink()
    (inputs / "part-1.parquet").write_bytes((inputs / "part-2.parquet").read_bytes())
    again = score_shards([str(inputs)], str(output), review_below=1.0, shard_rows=6)
    assert again["needs_review"] == 24
    assert len([*output.glob("review/*.csv")]) == 6
    assert "needs_review" not in score_shards([str(inputs)], str(output))
    assert not [*output.glob("review/*")]
    assert score_shards([str(inputs)], str(output))["shards_skipped"] == 3
