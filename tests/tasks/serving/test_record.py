"""Answered requests are recorded as rows of scoring, when they are answered."""

from pathlib import Path

import pandas as pd
import pytest

from tasks.common.errors import ParameterError
from tasks.output.records import PREDICTION_COLUMNS, read_records
from tasks.serving.types import ServingOptions
from tests.support.builders import Trained
from tests.support.served import classify, served


def test_what_was_answered_is_in_the_record(trained: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "online"
    texts = [f"a film of {number} minutes" for number in range(100)]
    with served(record=str(folder)) as client:
        answers = classify(client, *texts, "", use_cache=False)
        classify(client, texts[0])
    found = pd.concat(map(pd.read_parquet, (folder / "predictions").glob("*.parquet")))
    rejected = pd.concat(map(pd.read_parquet, (folder / "rejected").glob("*.parquet")))
    assert set(PREDICTION_COLUMNS) <= set(found.columns)
    assert sorted(found["text"]) == sorted([*texts, texts[0]])
    labels = dict(zip(found["text"], found["prediction_label"], strict=True))
    assert [labels[text] for text in texts] == [
        answer["response"]["prediction_label"] for answer in answers[:-1]
    ]
    assert rejected["reason"].tolist() == ["empty"]
    (record,) = read_records(folder)
    assert record.model_uri == trained.pipeline["inference_pipeline_model"]
    assert record.counts.rows_in == 102


def test_a_record_without_texts_has_their_digests(trained: Trained, tmp_path: Path) -> None:
    with served(record=str(tmp_path), record_text=False) as client:
        classify(client, "a text that is nobody's business")
    (path,) = (tmp_path / "predictions").glob("*.parquet")
    assert pd.read_parquet(path)["text"].isna().all()
    assert b"nobody's business" not in path.read_bytes()


def test_options_of_a_record_need_one() -> None:
    with pytest.raises(ParameterError, match=r"record_fraction: 0\.5 without record"):
        ServingOptions(record_fraction=0.5)
