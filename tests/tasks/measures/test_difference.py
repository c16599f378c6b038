"""The difference of two accuracies has the interval of the paper, and knows what it cannot know."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.measures.difference import difference_of_accuracies


@pytest.mark.parametrize(
    ("right", "rows", "low", "high"),
    # Newcombe 1998, table II, method 10; the differences there are of the first minus the second.
    [
        ((48, 56), (80, 70), 0.0524, 0.3339),
        ((3, 9), (10, 10), 0.1705, 0.8090),
        ((2, 6), (7, 7), 0.0582, 0.8062),
        ((0, 10), (10, 10), 0.6075, 1.0),
    ],
)
def test_interval_is_that_of_the_paper(
    right: tuple[int, int], rows: tuple[int, int], low: float, high: float
) -> None:
    found = difference_of_accuracies(right, rows)
    assert found is not None
    assert found.value == pytest.approx(right[1] / rows[1] - right[0] / rows[0])
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_without_rows_on_one_side_nothing_is_known() -> None:
    assert difference_of_accuracies((3, 0), (5, 0)) is None
    assert difference_of_accuracies((0, 3), (0, 5)) is None


@given(st.data())
def test_interval_holds_the_difference_and_changes_its_sign_with_the_sides(
    data: st.DataObject,
) -> None:
    rows = data.draw(st.tuples(st.integers(1, 2_000), st.integers(1, 2_000)))
    right = (data.draw(st.integers(0, rows[0])), data.draw(st.integers(0, rows[1])))
    found, turned = (
        difference_of_accuracies(right, rows),
        difference_of_accuracies(right[::-1], rows[::-1]),
    )
    assert found is not None
    assert turned is not None
    assert -1 - 1e-9 <= found.low <= found.value <= found.high <= 1 + 1e-9
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))
