"""Every label first tests the answer before it: the running accuracy of each version."""

from datetime import timedelta

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.feedback.prequential import count_right, prequential, select_tests
from tasks.feedback.types import AccuracyWindow
from tests.tasks.feedback.steps import NOON


def labels(model_uri: str, right: list[bool], first_hour: int = 0) -> pd.DataFrame:
    hours = range(first_hour, first_hour + len(right))
    return pd.DataFrame(
        {
            "when": pd.to_datetime([NOON + timedelta(hours=hour) for hour in hours], utc=True),
            "text_digest": [f"{hour:016x}" for hour in hours],
            "label": "1",
            "model_uri": model_uri,
            "answered_label": ["1.0" if is_right else "0" for is_right in right],
        }
    )


def test_windows_of_a_version_follow_each_other() -> None:
    first = labels("models:/p/1", [True, True, False, True, False])
    second = labels("models:/p/2", [True], first_hour=3)
    shuffled = pd.concat([second, first]).sample(frac=1, random_state=0)
    found = prequential(shuffled, window=2)
    assert [*found] == ["models:/p/1", "models:/p/2"]
    hours = [(w.first - NOON, w.last - NOON) for w in found["models:/p/1"]]
    assert [(a // timedelta(hours=1), b // timedelta(hours=1)) for a, b in hours] == [
        (0, 1),
        (2, 3),
        (4, 4),
    ]
    counts = [(w.labels, w.right, w.labels_so_far, w.right_so_far) for w in found["models:/p/1"]]
    assert counts == [(2, 2, 2, 2), (2, 1, 4, 3), (1, 0, 5, 3)]
    last = found["models:/p/1"][-1]
    assert last.accuracy == 0
    assert last.accuracy_so_far == pytest.approx(0.6)
    assert AccuracyWindow.model_validate_json(last.model_dump_json()) == last
    assert count_right(shuffled) == 4


def test_without_labels_there_is_nothing() -> None:
    assert prequential(labels("models:/p/1", [])) == {}


@pytest.mark.usefixtures("new_database")
def test_labels_of_a_version_that_is_gone_are_kept_and_it_is_named() -> None:
    rows = labels("models:/p/1", [True, False])
    found = select_tests(rows)
    assert found.rows.equals(rows)
    assert (found.known, found.unchecked) == (0, ("models:/p/1",))
    assert select_tests(rows[:0]).unchecked == ()


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 50))
def test_windows_hold_each_label_once(right: list[bool], window: int) -> None:
    (found,) = prequential(labels("models:/p/1", right), window).values()
    assert sum(part.labels for part in found) == found[-1].labels_so_far == len(right)
    assert sum(part.right for part in found) == found[-1].right_so_far == sum(right)
    assert all(part.labels == window for part in found[:-1])
