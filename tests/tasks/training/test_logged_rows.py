"""What a training run keeps to check a model by was not trained on."""

from pathlib import Path

import mlflow
import pandas as pd
import pytest

from tasks.dataset.types import Split
from tasks.tracking.mlflow_client import connect
from tasks.training.logged_rows import (
    CALIBRATION_ROWS,
    UNSEEN_ROWS,
    CheckRows,
    load_check_rows,
    load_test_rows,
    log_rows,
)

EXPERIMENT = "rows"


@pytest.fixture(autouse=True)
def _registry(home: Path, tmp_path: Path) -> None:
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
