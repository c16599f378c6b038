"""The frames that rules get: input columns, look-ups, and after the model its prediction."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from ..contract import Answer
from .column_types import is_null, to_pandas
from .spec import BusinessSpec

Columns = Mapping[str, Sequence[object]]


def build_frame(
    spec: BusinessSpec,
    texts: Sequence[object],
    columns: Columns,
    looked_up: Mapping[str, Mapping[str, pa.Array]],
) -> pd.DataFrame:
    """Return the frame of `before` and `text`: input columns, then those of look-ups.

    Args:
        spec: The look-ups, and the input columns besides the text.
        texts: A text a row, of any type.
        columns: The other input columns.
        looked_up: What each look-up found, by its name.
    """
    given = {"text": texts} | {name: columns[name] for name in spec.input_columns}
    parts = {
        name: pd.Series([None if is_null(v) else v for v in values], dtype=object)
        for name, values in given.items()
    }
    for lookup in spec.lookups:
        for name in lookup.columns:
            parts[lookup.frame_column(name)] = to_pandas(looked_up[lookup.name][name])
    return pd.DataFrame(parts, index=pd.RangeIndex(len(texts)))


def with_predictions(frame: pd.DataFrame, answers: Sequence[Answer]) -> pd.DataFrame:
    """Return the frame of `after`: with the columns of the prediction, named as in an output.

    Args:
        frame: The rows that have an answer.
        answers: One for each.
    """
    predictions: dict[str, list[Any]] = {
        "prediction_label": [a.prediction.label for a in answers],
        "prediction_score": [a.prediction.score for a in answers],
        "language_detected": [a.language.code for a in answers],
        "language_reliable": [a.language.reliable for a in answers],
        "truncated": [a.prediction.truncated for a in answers],
    }
    if any(answer.decided_by for answer in answers):
        predictions["prediction_decided_by"] = [a.decided_by for a in answers]
    # Not `assign`, which takes three times as long for one row.
    return pd.concat([frame, pd.DataFrame(predictions, index=frame.index)], axis=1)
