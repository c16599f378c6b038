"""What the tests of feedback score, answer, collect and load."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from tasks.feedback.choosing import FeedbackRows, load_feedback
from tasks.feedback.collecting import AnsweringModel, collect
from tasks.feedback.types import CollectedFeedback, FeedbackChoices, FeedbackRequest, GivenAnswer
from tasks.output.records import write_record
from tests.support.deliveries import publish, shard_id

LABELS = ("negative", "positive")
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


def answer(texts: Sequence[str]) -> list[GivenAnswer | None]:
    """Answer as the version that answers today."""
    found = ("positive" if "great" in text else "negative" for text in texts)
    return [GivenAnswer(label, 0.75, "models:/p/2") for label in found]


MODEL = AnsweringModel(LABELS, answer)


def publish_shard(folder: Path, number: int = 1, rows: int = 3, **columns: list[Any]) -> str:
    """Write a shard as version 1 scored it, all rows positive; return its id."""
    shard = shard_id(number)
    table = {
        "text": [f"a film, {number} {row}" for row in range(1, rows + 1)],
        "prediction_label": ["positive"] * rows,
        "prediction_score": [0.9] * rows,
    }
    record = publish(folder, pa.table(table | columns), shard)
    write_record(folder, record.model_copy(update={"model_uri": "models:/p/1"}))
    return shard


def take(model: AnsweringModel = MODEL, **request: Any) -> CollectedFeedback:
    """Collect what there is."""
    return collect(FeedbackRequest(**request), model)


def load(home: Path, **choices: Any) -> FeedbackRows:
    """Return what the store has."""
    return load_feedback(home / "feedback-store", FeedbackChoices(**choices))


def refused(found: CollectedFeedback) -> list[tuple[int, str, str, str]]:
    """Return number, column, value and reason of the refused rows of one file."""
    (path,) = found.refused_files.values()
    columns = ["source_row", "column", "value", "reason"]
    rows = pd.read_parquet(path)[columns].itertuples(index=False, name=None)
    return list(rows)
