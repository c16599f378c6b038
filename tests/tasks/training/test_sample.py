"""A sample that leaves out labels says so."""

from pathlib import Path

import pandas as pd
import pytest

from tasks.dataset.splitting import warn_of_undrawn_labels
from tasks.dataset.types import Split


@pytest.mark.parametrize(
    ("drawn", "warned"), [(["x", "y"], True), (["x", "y", "z"], False), (["x", "y"] * 5, False)]
)
def test_labels_that_are_not_drawn_are_a_warning(
    drawn: list[str], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    split = Split(
        folder=Path(),
        source="s",
        digest="",
        labels=("x", "y", "z"),
        rows={"train": 10},
        distributions={},
    )
    warn_of_undrawn_labels(pd.DataFrame({"label": drawn}), split)
    assert [
        line.startswith(
            f"sample_size: {len(drawn)} rows of train have none of 1 labels, such as 'z'"
        )
        for line in caplog.messages
    ] == [True] * warned
