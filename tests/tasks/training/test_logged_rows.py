"""What a training run keeps to check a model by was not trained on."""

from pathlib import Path

import mlflow
import pandas as pd
import pytest

from tasks.common.settings import get_settings
from tasks.dataset.types import Split
from tasks.tracking.mlflow_client import connect
from tasks.training.logged_rows import (
    CALIBRATION_ROWS,
    UNSEEN_ROWS,
    CheckRows,
    find_split,
    load_check_rows,
    load_test_rows,
    log_rows,
    select_unseen,
)

EXPERIMENT = "rows"


@pytest.fixture(autouse=True)
def _registry(new_database: None, tmp_path: Path) -> None:
    connect()
    mlflow.create_experiment(EXPERIMENT, artifact_location=(tmp_path / "artifacts").as_uri())
    mlflow.set_experiment(EXPERIMENT)


def rows(part: str, count: int) -> pd.DataFrame:
    texts = [f"{part} {number}" for number in range(count)]
    return pd.DataFrame({"text": texts, "label": ["good", "bad"] * (count // 2)})


def split_of(folder: Path, **parts: pd.DataFrame) -> Split:
    for name, table in parts.items():
        table.to_parquet(folder / f"{name}.parquet", index=False)
    return Split(folder=folder, source="s", digest="", labels=(), rows={}, distributions={})


def logged(split: Split, drawn: pd.DataFrame) -> tuple[str, CheckRows]:
    with mlflow.start_run() as run:
        log_rows(split, drawn)
    run_id: str = run.info.run_id
    return run_id, load_check_rows(run_id)


def test_unseen_rows_are_the_test_part_then_what_was_not_drawn_then_validation(
    tmp_path: Path,
) -> None:
    train = rows("train", 40)
    split = split_of(tmp_path, test=rows("test", 6), train=train, validation=rows("validation", 4))
    run_id, found = logged(split, train.iloc[10:30])
    expected = [rows("test", 6), train.iloc[:10], train.iloc[30:], rows("validation", 4)]
    pd.testing.assert_frame_equal(found.unseen, pd.concat(expected, ignore_index=True))
    pd.testing.assert_frame_equal(load_test_rows(run_id), rows("test", 6))


def test_a_text_that_was_drawn_is_not_unseen_where_it_is_repeated(tmp_path: Path) -> None:
    again = rows("train", 10)
    again["text"] = "  " + again["text"].str.upper()  # what the split takes for the same text
    train = pd.concat([rows("train", 10), again], ignore_index=True)
    split = split_of(tmp_path, test=rows("test", 6), train=train, validation=rows("validation", 4))
    drawn = train.iloc[:6]
    _, found = logged(split, drawn)
    assert not set(found.unseen["text"].str.strip().str.lower()) & set(drawn["text"])
    assert not set(found.unseen["text"]) & set(drawn["text"])
    assert len(found.unseen) == 6 + 8 + 4


def test_there_are_no_more_unseen_rows_than_are_needed(tmp_path: Path) -> None:
    train = rows("train", 3_000)
    split = split_of(tmp_path, test=rows("test", 6), train=train, validation=rows("validation", 4))
    _, found = logged(split, train.head(500))
    assert UNSEEN_ROWS == 2_000
    assert len(found.unseen) == UNSEEN_ROWS
    assert found.unseen["text"].tolist()[:6] == [f"test {n}" for n in range(6)]
    assert found.unseen["text"].is_unique
    _, found = logged(split_of(tmp_path, test=rows("test", 2_500)), train.head(500))
    pd.testing.assert_frame_equal(found.unseen, rows("test", 2_500).head(UNSEEN_ROWS))


def test_unseen_rows_are_drawn_from_all_of_a_file_that_has_one_label_after_the_other(
    tmp_path: Path,
) -> None:
    train = rows("train", 8_000).sort_values("label", kind="stable", ignore_index=True)
    split = split_of(tmp_path, test=rows("test", 2), train=train, validation=rows("validation", 2))
    _, found = logged(split, train.head(2))
    assert len(found.unseen) == UNSEEN_ROWS
    assert (found.unseen["label"] == "good").mean() == pytest.approx(0.5, abs=0.05)


def test_texts_to_calibrate_by_were_drawn(tmp_path: Path) -> None:
    train = rows("train", 1_000)
    split = split_of(tmp_path, test=rows("test", 6), train=train, validation=rows("validation", 4))
    _, found = logged(split, train.head(500))
    assert len(set(found.calibration)) == CALIBRATION_ROWS
    assert set(found.calibration) < set(train.head(500)["text"])
    _, found = logged(split, train.head(20))
    assert list(found.calibration) == train.head(20)["text"].tolist()


def test_an_older_run_has_its_test_part(tmp_path: Path) -> None:
    test = rows("test", 400)
    test.to_parquet(tmp_path / "test.parquet", index=False)
    with mlflow.start_run() as run:
        mlflow.log_artifact(str(tmp_path / "test.parquet"), "data")
    found = load_check_rows(run.info.run_id)
    pd.testing.assert_frame_equal(found.unseen, test)
    assert list(found.calibration) == test["text"].head(CALIBRATION_ROWS).tolist()


# Rows that another training did not see


def log_as_before(split: Split, drawn: pd.DataFrame, *left_out: str) -> str:
    """Log a training that left out some files, as older versions did."""
    run_id, _ = logged(split, drawn)
    client = connect()
    client.log_dict(run_id, split.model_dump(mode="json"), "data/split.json")
    folder = Path(str(client.get_run(run_id).info.artifact_uri).removeprefix("file://")) / "data"
    for name in left_out:
        (folder / name).unlink()
    return run_id


def whole_split(folder: Path) -> Split:
    parts = {"test": rows("test", 6), "train": rows("train", 40), "validation": rows("seen", 4)}
    return split_of(folder, **parts)


def shouted(table: pd.DataFrame) -> pd.DataFrame:
    """Return the same texts to the eye of the split."""
    return table.assign(text="  " + table["text"].str.upper())


@pytest.mark.parametrize(
    ("left_out", "train_rows_unseen"),
    [
        ((), 30),  # exactly those that were not drawn
        (
            ("trained.parquet",),
            30,
        ),  # the train part is on this machine, and what was not drawn logged
        (("trained.parquet", "unseen.parquet"), 0),
    ],
)
def test_rows_that_a_training_saw_are_no_rows_to_compare_by(
    tmp_path: Path, left_out: tuple[str, ...], train_rows_unseen: int
) -> None:
    split = whole_split(tmp_path)
    train = pd.read_parquet(split.part("train"))
    run_id = log_as_before(split, train.head(10), *left_out)
    asked = pd.concat([shouted(train), rows("test", 6), rows("new", 8)], ignore_index=True)
    found = select_unseen(asked, run_id)
    assert set(found["text"]) & set(shouted(train.head(10))["text"]) == set()
    assert len(found) == train_rows_unseen + 6 + 8


@pytest.mark.parametrize("elsewhere", ["gone", "another split"])
def test_without_the_train_part_only_rows_that_were_logged_as_unseen_are(
    tmp_path: Path, elsewhere: str
) -> None:
    split = whole_split(tmp_path)
    run_id = log_as_before(split, rows("train", 40), "trained.parquet")
    if elsewhere == "gone":
        split.part("train").unlink()
    else:
        rows("other", 6).to_parquet(split.part("test"), index=False)
        rows("other train", 40).to_parquet(split.part("train"), index=False)
    parts = [rows("train", 40), rows("test", 6), rows("seen", 4), rows("new", 8)]
    found = select_unseen(pd.concat(parts, ignore_index=True), run_id)
    pd.testing.assert_frame_equal(
        found.reset_index(drop=True), pd.concat(parts[1:3], ignore_index=True)
    )


def test_a_split_is_found_where_the_state_folder_is_now(tmp_path: Path) -> None:
    before, after = tmp_path / "before" / "key", get_settings().data / "splits" / "key"
    before.mkdir(parents=True)
    run_id = log_as_before(whole_split(before), rows("train", 10))
    assert find_split(run_id) == whole_split(before)
    after.parent.mkdir(parents=True)
    before.rename(after)
    found = find_split(run_id)
    assert found is not None
    assert found.folder == after
    rows("other", 6).to_parquet(found.part("test"), index=False)
    assert find_split(run_id) is None


def test_nothing_is_known_of_a_training_that_was_deleted(tmp_path: Path) -> None:
    run_id, _ = logged(whole_split(tmp_path), rows("train", 40))
    connect().delete_run(run_id)
    assert not select_unseen(rows("test", 6), run_id).empty  # MLflow keeps its files for a while
    assert select_unseen(rows("test", 6), "0" * 32).empty
