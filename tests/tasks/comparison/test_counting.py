"""Two scorings of the same files are compared row by row, as one reads it off their tables."""

import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from flows.score_shards import score_shards
from tasks.common.errors import DataError, ParameterError
from tasks.comparison.counting import compare_outputs
from tasks.comparison.types import Comparison, RowChoice

FILM = "a film, number {row}, a film, number {row}, a {word} {word} {word} film"


@pytest.fixture
def folders(two_versions: Path, tmp_path: Path) -> tuple[Path, Path]:
    """What champion and challenger answer to the same two files.

    One text is too short for both. The first file ends with a text that was there before, one whose
    label is written as its position, and one of a label that no version knows.
    """
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for name, rows in (("first", 30), ("second", 20)):
        texts = [FILM.format(word=("great", "awful")[row % 2], row=row) for row in range(rows)]
        labels = ["positive", "negative"] * (rows // 2)
        if name == "first":
            texts += [texts[0].upper(), *(FILM.format(word="great", row=row) for row in (40, 41))]
            labels += ["negative", "1", "unclear"]
        table = pd.DataFrame({"text": ["", *texts], "label": ["positive", *labels]})
        table.to_csv(inbox / f"{name}.csv", index=False)
    folders = (tmp_path / "present", tmp_path / "other")
    for folder, alias in zip(folders, ("champion", "challenger"), strict=True):
        score_shards(
            [str(inbox)], str(folder), model_uri=alias, label_column="label", shard_rows=13
        )
    return folders


def predictions(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "predictions").set_index(["shard", "row"]).sort_index()


def test_counts_are_those_of_the_joined_tables(folders: tuple[Path, Path]) -> None:
    found = compare_outputs(*folders, RowChoice(), examples=3)
    present, other = map(predictions, folders)
    assert len(present) == len(other) == 53
    joined = present.join(other.add_suffix("_other"))
    flips = joined[joined["prediction_label"] != joined["prediction_label_other"]]
    assert 0 < len(flips) < 53  # the challenger does not read as far as the word that tells
    assert (found.rows, found.scored, found.flips) == (55, 53, len(flips))
    assert found.flip_share == pytest.approx(len(flips) / 53)
    pairs = Counter(zip(flips["prediction_label"], flips["prediction_label_other"], strict=True))
    assert {
        (one, two): count for one, counts in found.pairs.items() for two, count in counts.items()
    } == pairs
    assert found.rejects.both == 2
    assert found.rejects.only_present == found.rejects.only_other == {}
    for groups in (found.by_language, found.by_length, found.by_score):
        assert sum(group.rows for group in groups.values()) == 53
        assert sum(group.flips for group in groups.values()) == len(flips)
    assert {name: group.rows for name, group in found.by_language.items()} == Counter(
        present["language_detected"]
    )
    labelled = joined[joined["label"] != "unclear"]
    repeated = labelled["text"].str.lower().duplicated()  # the second file begins as the first
    labelled = labelled[~repeated]
    truth = labelled["label"].replace("1", "positive")
    right = [labelled[f"prediction_label{side}"] == truth for side in ("", "_other")]
    assert found.labels == (
        (right[0] & right[1]).sum(),
        (right[0] & ~right[1]).sum(),
        (~right[0] & right[1]).sum(),
        (~right[0] & ~right[1]).sum(),  # and not what both reject
    )
    assert (found.unknown_labels, found.repeated, found.known) == (1, repeated.sum(), 0)
    quoted = [(flip.shard, flip.row, flip.text, flip.truth) for flip in found.examples]
    first = flips.head(3).reset_index()
    columns = (first[name] for name in ("shard", "row", "text", "label"))
    assert quoted == list(zip(*columns, strict=True))
    assert Comparison.model_validate_json(found.model_dump_json()) == found


def reject(folder: Path, text: str, step: str) -> None:
    """Let a folder look as if a step had rejected the row with a text."""
    for path in (folder / "predictions").glob("*.parquet"):
        scored = pd.read_parquet(path)
        is_wanted = scored["text"] == text
        if is_wanted.any():
            scored[~is_wanted].to_parquet(path)
            table = folder / "rejected" / path.name
            rejected = pd.read_parquet(table)
            moved = scored[is_wanted].assign(step=step, reason="opted out")
            columns = rejected.columns.intersection(moved.columns)
            pd.concat([rejected, moved[[*columns]]]).to_parquet(table)


@pytest.mark.parametrize(("step", "decided"), [("rules", 1), ("lookup", 1), ("predict", 0)])
def test_a_row_that_a_rule_or_a_look_up_refused_says_nothing_of_a_model(
    folders: tuple[Path, Path], step: str, decided: int
) -> None:
    before = compare_outputs(*folders, RowChoice(), examples=0).labels
    # No other row has this text.
    reject(folders[0], FILM.format(word="awful", row=25), step)
    found = compare_outputs(*folders, RowChoice(), examples=0)
    assert found.rejects.only_present == {f"{step}: opted out": 1}
    assert found.decided == decided
    assert before
    assert found.labels
    assert found.labels.rows == before.rows - decided


def change_record(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_answers_of_one_version_or_of_several_are_refused(folders: tuple[Path, Path]) -> None:
    present, other = folders
    with pytest.raises(DataError, match=r"have answers of (\S+) and \1; expected those of two"):
        compare_outputs(present, present, RowChoice(), examples=0)
    first, *records = sorted((other / "records").glob("*.json"))
    former = first.read_text()
    traffic = {"challenger_uri": "models:/a/9", "fingerprint": "f", "share": 0.1}
    change_record(first, parameters=json.loads(former)["parameters"] | {"traffic": traffic})
    several = r"has answers of models:/a/9, models:/\w+/2; expected those of one version$"
    with pytest.raises(DataError, match=several):
        compare_outputs(present, other, RowChoice(), examples=0)
    for path in (first, *records):
        change_record(path, model_uri="models:/a/2", parameters=json.loads(former)["parameters"])
    with pytest.raises(DataError, match=r"expected those of two versions of one model$"):
        compare_outputs(present, other, RowChoice(), examples=0)


def test_shards_of_other_runs_can_be_left_out(folders: tuple[Path, Path]) -> None:
    present, other = folders
    manifest = json.loads((present / "manifest.json").read_text())
    manifest["shards"] = manifest["shards"][:1]
    (present / "manifest.json").write_text(json.dumps(manifest))
    assert compare_outputs(present, other, RowChoice(of_last_run=True), examples=0).rows == 13


def test_labels_are_those_of_the_column_that_is_named(folders: tuple[Path, Path]) -> None:
    found = compare_outputs(*folders, RowChoice(label_column="prediction_label"), examples=0)
    assert found.labels
    assert found.labels.accuracy_of_present == 1
    with pytest.raises(ParameterError, match=r"^label_column: 'other' is not in .*\.parquet; exp"):
        compare_outputs(*folders, RowChoice(label_column="other"), examples=0)


def test_shards_that_cannot_be_compared_are_named(folders: tuple[Path, Path]) -> None:
    present, other = folders
    missing, changed, *_ = sorted((other / "records").glob("*.json"))
    missing.unlink()
    record = json.loads(changed.read_text())
    record["shard"]["sha256"] = "0" * 64
    changed.write_text(json.dumps(record))
    found = compare_outputs(present, other, RowChoice(), examples=0)
    assert found.left_out == {
        missing.stem: f"{other} does not have it",
        changed.stem: "its input changed between the two scorings",
    }
    assert found.rows == 29
    assert found.examples == ()


def test_a_table_that_is_damaged_or_lacks_a_row_is_named(folders: tuple[Path, Path]) -> None:
    present, other = folders
    path = min((other / "predictions").glob("*.parquet"))
    pd.read_parquet(path).head(-1).to_parquet(path)
    with pytest.raises(DataError, match=rf"^{path.stem}: row \d+ is in one of "):
        compare_outputs(present, other, RowChoice(), examples=0)
    path.write_bytes(b"no table")
    with pytest.raises(DataError, match=rf"^{path}: cannot be read \("):
        compare_outputs(present, other, RowChoice(), examples=0)
