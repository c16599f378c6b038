"""Feedback is taken once, row by row, with the answer that was given before it."""

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.common.errors import DataError, ParameterError
from tasks.common.files import published_file
from tasks.ingestion.table_reader import read_columns
from tests.tasks.feedback.steps import (
    MODEL,
    NOON,
    load,
    publish_shard,
    refused,
    take,
)

Write = Callable[..., Path]


def test_a_row_has_the_answer_of_its_prediction_or_of_the_model(
    home: Path, write: Write, tmp_path: Path
) -> None:
    shard = publish_shard(tmp_path)
    path = write(
        "monday.jsonl",
        {"shard": shard, "row": 2, "label": "negative", "when": NOON.isoformat(), "by": "anna"},
        {"text": "a great film", "label": " negative "},
    )
    os.utime(path, (NOON.timestamp() + 60, NOON.timestamp() + 60))
    found = take(scored=str(tmp_path))
    assert (found.taken, found.refused, found.unreadable) == (2, {}, {})
    rows = load(home).rows
    assert rows.drop(columns=["text_digest", "batch", "held_out"]).to_dict("records") == [
        {
            "text": "a film, 1 2",
            "label": "negative",
            "when": pd.Timestamp(NOON),
            "by": "anna",
            "model_uri": "models:/p/1",
            "answered_label": "positive",
            "answered_score": 0.9,
            "member": "",
        },
        {
            "text": "a great film",
            "label": "negative",
            "when": pd.Timestamp(NOON + timedelta(minutes=1)),
            "by": "",
            "model_uri": "models:/p/2",
            "answered_label": "positive",
            "answered_score": 0.75,
            "member": "",
        },
    ]
    assert set(rows["batch"]) == {found.batch}


def test_all_formats_hold_the_same_row(home: Path, inbox: Path) -> None:
    rows = pd.DataFrame({"Text": ["good"], "label": ["positive"], "when": [NOON], "by": ["anna"]})
    rows.to_parquet(inbox / "a.parquet")
    rows.to_csv(inbox / "b.csv", index=False, sep=";")
    rows.to_json(inbox / "c.jsonl", orient="records", lines=True, date_format="iso")
    found = take()
    assert (found.taken, found.duplicates) == (1, 2)
    assert load(home).rows["when"].tolist() == [NOON]


def test_a_filled_in_review_file_is_feedback(home: Path, inbox: Path, tmp_path: Path) -> None:
    shard = publish_shard(tmp_path)
    table = {"label": ["positive"] * 2, "shard": shard, "row": [1, 3], "prediction_label": ""}
    table |= {"reviewed_label": ["negative", None]}
    pd.DataFrame(table).to_csv(inbox / "review.csv", index=False)
    found = take(scored=str(tmp_path))
    assert (found.taken, found.refused) == (1, {"label: empty": 1})
    assert load(home).rows["label"].tolist() == ["negative"]


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"text": "a film", "label": "neutral"}, "label", "unknown"),
    ({"text": "a film", "label": " "}, "label", "empty"),
    ({"text": "a film"}, "label", "empty"),
    ({"label": "positive"}, "", "neither text nor shard and row"),
    ({"text": "\u200b", "label": "positive"}, "text", "empty"),
    ({"text": 7, "label": "positive"}, "text", "not text but int"),
    ({"shard": "SHARD", "label": "positive"}, "row", "missing"),
    ({"row": 1, "label": "positive"}, "shard", "missing"),
    ({"shard": "SHARD", "row": 9, "label": "positive"}, "row", "no prediction"),
    ({"shard": "SHARD", "row": 0, "label": "positive"}, "row", "no row number"),
    ({"shard": "SHARD", "row": 10**30, "label": "positive"}, "row", "no row number"),
    ({"shard": "../records/SHARD", "row": 1, "label": "positive"}, "shard", "unknown"),
    (
        {"shard": "SHARD", "row": 1, "text": "other", "label": "positive"},
        "text",
        "another one than that of the row",
    ),
    ({"text": "a film", "label": "positive", "when": "tuesday"}, "when", "no time"),
    ({"text": "a film", "label": "positive", "when": "0001-01-01T00:00+09:00"}, "when", "no time"),
    ({"text": "a film", "label": "positive", "by": ["anna"]}, "by", "no name"),
]


def test_rows_that_cannot_be_used_are_named_and_the_others_taken(
    write: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shard = publish_shard(tmp_path)
    rows = [
        {
            name: value.replace("SHARD", shard) if isinstance(value, str) else value
            for name, value in row.items()
        }
        for row, _, _ in REFUSED
    ]
    path = write("monday.jsonl", *rows, {"text": "the last one", "label": "positive"})
    found = take(scored=str(tmp_path))
    assert found.taken == 1
    assert sum(found.refused.values()) == len(REFUSED)
    named = [(number, column, reason) for number, column, _, reason in refused(found)]
    assert named == [
        (number, column, reason) for number, (_, column, reason) in enumerate(REFUSED, start=1)
    ]
    assert refused(found)[0][2] == "neutral"
    table = pd.read_parquet(found.refused_files[str(path)])
    assert table["expected"][0] == "expected one of 'negative', 'positive'"
    assert f"{path}: {len(REFUSED)} of {len(REFUSED) + 1} rows are refused" in caplog.text
    assert "neutral" not in caplog.text


def test_rows_that_cannot_be_parsed_are_refused(inbox: Path) -> None:
    (inbox / "monday.csv").write_text("text,label\ngood,positive\na,b,c\n")
    found = take()
    assert found.taken == 1
    assert refused(found)[0][:3] == (2, "", "a,b,c")


def test_rows_of_a_shard_that_is_damaged_or_not_given_are_refused(
    write: Write, tmp_path: Path
) -> None:
    whole, damaged, replaced = shards = [publish_shard(tmp_path, number) for number in (1, 2, 3)]
    tables = tmp_path / "predictions"
    (tables / f"{damaged}.parquet").write_bytes(b"no table")
    shutil.copy(tables / f"{whole}.parquet", tables / f"{replaced}.parquet")
    path = write("a.jsonl", *({"shard": s, "row": 1, "label": "1"} for s in shards))
    found = take(scored=str(tmp_path))
    assert (found.taken, found.refused) == (1, {"shard: cannot be read": 2})
    path.write_text(path.read_text() + "\n")
    found = take()
    assert (found.taken, found.refused) == (0, {"shard: no output folder": 3})


def test_files_that_cannot_be_read_are_named_and_the_others_taken(inbox: Path) -> None:
    (inbox / "a.csv").write_text("text,label\ngood,positive\n")
    (inbox / "b.parquet").write_bytes(b"no table")
    (inbox / "c.xlsx").write_bytes(b"")
    (inbox / "d.csv").write_text("text,label\n")
    (inbox / "e.csv").write_text("text,mark\ngood,positive\n")
    (inbox / "f.csv").symlink_to("nowhere")
    os.mkfifo(inbox / "g.csv")
    Path(os.fsdecode(os.fsencode(inbox / "h") + b"\xff.csv")).write_text("text,label\n")
    (inbox / ".i.csv").write_text("hidden")
    (inbox / "j").mkdir()
    found = take()
    assert found.taken == 1
    for name, reason in {
        "b.parquet": "",
        "c.xlsx": "unknown kind of file '.xlsx'; expected .csv",
        "e.csv": "its 2 columns are not those of feedback; expected label, and text or shard",
        "f.csv": "no regular file",
        "g.csv": "no regular file",
        "h\\xff.csv": "the file's name is not UTF-8",
    }.items():
        assert found.unreadable.pop(str(inbox / name)).startswith(f"{inbox / name}: {reason}")
    assert found.unreadable == {}


def test_a_file_that_changes_while_it_is_read_waits(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("a.jsonl", {"text": "good", "label": "positive"})

    def read_and_write(*arguments: Any) -> Any:
        yield from read_columns(*arguments)
        path.write_text(path.read_text() + "{}\n")

    with monkeypatch.context() as patch:
        patch.setattr("tasks.feedback.feedback_files.read_columns", read_and_write)
        with pytest.raises(DataError, match=f"^feedback: {path}: changed while it was read; expec"):
            take()
    assert take().taken == 1


def test_a_run_of_which_nothing_can_be_read_fails(write: Write, inbox: Path) -> None:
    for name in ("a.xlsx", "b.xlsx"):
        (inbox / name).write_bytes(b"PK")
    with pytest.raises(DataError, match=r"^feedback: .*a\.xlsx: .*; 1 more cannot be read either$"):
        take()
    write("c.jsonl", {"text": "good", "label": "positive"})
    found = take()
    assert (found.taken, len(found.unreadable)) == (1, 2)
    assert take().taken == 0


def test_rows_that_were_refused_are_tried_again(home: Path, write: Write, tmp_path: Path) -> None:
    shard = publish_shard(tmp_path)
    write(
        "a.jsonl",
        {"text": "good", "label": "positive"},
        {"shard": shard, "row": 2, "label": "negative"},
        {"text": "a film, 1 3", "shard": shard, "row": 3, "label": "negative"},
    )
    first = take()
    assert (first.taken, first.refused) == (2, {"shard: no output folder": 1})
    found = take(scored=str(tmp_path))
    assert (found.taken, found.refused, found.duplicates) == (1, {}, 2)
    assert load(home).rows["label"].tolist().count("negative") == 2
    assert len(take(scored=str(tmp_path)).known) == 1


def test_a_label_of_the_future_would_overrule_every_correction(write: Write) -> None:
    write("a.jsonl", {"text": "good", "label": "positive", "when": "2999-01-01"})
    assert take().refused == {"when: in the future": 1}


def test_a_file_is_taken_once(home: Path, write: Write) -> None:
    path = write("a.jsonl", {"text": "good", "label": "positive"})
    first = take()
    path.rename(path.with_name("b.jsonl"))
    again = take()
    assert (again.batch, again.taken, again.known) == ("", 0, (str(path.with_name("b.jsonl")),))
    assert again.store_digest == first.store_digest == load(home).digest
    write("c.jsonl", {"text": "bad", "label": "negative"})
    write("d.jsonl", {"text": "bad", "label": "negative"})
    third = take()
    assert (third.taken, third.batch[:12], len(third.known)) == (1, "batch-00002-", 2)
    assert third.store_digest != first.store_digest


def test_rows_that_are_there_are_not_taken_again(home: Path, write: Write) -> None:
    row = {"text": "good", "label": "positive", "when": NOON.isoformat(), "by": "anna"}
    write("a.jsonl", row, row, row | {"by": "bert"})
    assert take().duplicates == 1
    write("b.jsonl", row | {"text": "GOOD "}, row | {"when": "2026-11-30T13:00+01:00"})
    found = take()
    assert (found.taken, found.duplicates, found.batch) == (0, 2, "")
    assert load(home).counts.duplicates == 1  # what bert says
    write("a.jsonl", row | {"when": "2026-11-30T14:00Z"})  # the same place at another time
    assert take().taken == 1


def test_a_file_without_times_may_grow(home: Path, write: Write) -> None:
    """Its old rows get no later time, so that they do not overrule what was said meanwhile."""
    rows = [{"text": "good", "label": "positive"}, {"text": "bad", "label": "negative"}]
    path = write("log.jsonl", *rows)
    os.utime(path, (NOON.timestamp(), NOON.timestamp()))
    assert take().taken == 2
    one, two = (NOON + timedelta(hours=hours) for hours in (1, 2))
    write("other.jsonl", {"text": "good", "label": "negative", "when": one.isoformat()})
    take()
    write("log.jsonl", *rows, {"text": "bad", "label": "positive"})
    os.utime(path, (two.timestamp(), two.timestamp()))
    found = take()
    assert (found.taken, found.duplicates) == (1, 2)
    kept = load(home).rows
    assert dict(zip(kept["text"], kept["label"], strict=True)) == {
        "good": "negative",
        "bad": "positive",
    }


@pytest.mark.parametrize("published", [1, 2])
def test_a_killed_collection_makes_the_same_batch_when_it_is_run_again(
    home: Path, write: Write, monkeypatch: pytest.MonkeyPatch, published: int
) -> None:
    write("a.jsonl", {"text": "good", "label": "positive"}, {"text": "bad", "label": "unknown"})
    expected = take()
    batch = (home / "feedback-store" / expected.batch).read_bytes()
    for path in (home / "feedback-store").rglob("*.parquet"):
        path.unlink()
    calls = []

    def killed(target: Path) -> Any:
        calls.append(target)
        if len(calls) == published:
            raise KeyboardInterrupt
        return published_file(target)

    with monkeypatch.context() as patch:
        patch.setattr("tasks.feedback.store.published_file", killed)
        with pytest.raises(KeyboardInterrupt):
            take()
    assert list((home / "feedback-store").glob("batch-*")) == []
    assert take() == expected
    assert (home / "feedback-store" / expected.batch).read_bytes() == batch


def test_refused_rows_of_a_mended_file_are_forgotten(write: Write) -> None:
    write("a.jsonl", {"text": "good", "label": "brilliant"})
    found = take()
    (path,) = found.refused_files.values()
    assert Path(path).is_file()
    again = take(MODEL._replace(labels=("brilliant", "poor")))
    assert (again.taken, again.refused_files) == (1, {})
    assert not Path(path).exists()


def test_texts_that_the_model_refuses_are_refused(write: Write) -> None:
    write("a.jsonl", {"text": "good", "label": "positive"}, {"text": "bad", "label": "negative"})

    def answer(texts: Any) -> Any:
        return [None if text == "good" else MODEL.answer([text])[0] for text in texts]

    found = take(MODEL._replace(answer=answer))
    assert (found.taken, found.refused) == (1, {"text: refused by the model": 1})


def test_a_damaged_batch_is_named(home: Path, write: Write) -> None:
    write("a.jsonl", {"text": "good", "label": "positive"})
    path = home / "feedback-store" / take().batch
    path.write_bytes(path.read_bytes() + b"x")
    digits = path.stem[-12:]
    with pytest.raises(DataError, match=rf"^{path}: is damaged: .*; expected {digits}, as its na"):
        take()
    with pytest.raises(DataError, match=rf"^{path}: is damaged"):
        load(home)


def test_places_and_an_empty_store(home: Path, tmp_path: Path) -> None:
    found = load(home)
    assert (len(found.rows), len(found.left_out)) == (0, 0)
    assert take().taken == 0  # makes the folder
    assert (home / "feedback").is_dir()
    with pytest.raises(ParameterError, match=r"^feedback: .*/gone is missing; expected a file or"):
        take(feedback=[str(tmp_path / "gone")])
    with pytest.raises(ParameterError, match=r"^scored: .* has no records/; expected the out"):
        take(scored=str(tmp_path))
    other = tmp_path / "other.csv"
    other.write_text("text,label\ngood,positive\n")
    assert take(feedback=[str(other), str(tmp_path)]).taken == 1


def test_times_are_of_the_zone_that_they_name(home: Path, write: Write) -> None:
    times = ["2026-11-30T12:00:00Z", "2026-11-30 14:00:00+02:00", "2026-11-30T12:00", "2026-11-30"]
    rows = [{"text": f"film {row}", "label": "1", "when": t} for row, t in enumerate(times)]
    write("a.jsonl", *rows)
    assert take().taken == 4
    midnight = datetime(2026, 11, 30, tzinfo=UTC)
    assert load(home).rows["when"].tolist() == [midnight, NOON, NOON, NOON]
