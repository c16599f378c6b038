"""The population stability index: that of a textbook, and what it is without rows in a bin."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.measures.stability import SHIFT, population_stability

BINS = st.lists(st.integers(0, 1_000), min_size=4, max_size=4).filter(any)


def test_index_is_that_of_its_definition() -> None:
    expected = (0.5 - 0.25) * math.log(2) + (0.5 - 0.75) * math.log(2 / 3)
    assert population_stability([10, 10], [25, 75]) == pytest.approx(expected)
    assert expected > SHIFT


def test_a_bin_without_rows_has_the_share_of_a_ten_thousandth() -> None:
    expected = (1 - 0.99) * math.log(1 / 0.99) + (0.0001 - 0.01) * math.log(0.0001 / 0.01)
    assert population_stability([50, 0, 0], [99, 1, 0]) == pytest.approx(expected)
    assert expected < SHIFT


def test_there_is_none_without_rows() -> None:
    assert population_stability([0, 0], [1, 2]) is None
    assert population_stability([1, 2], ()) is None
    with pytest.raises(ValueError, match=r"^1 bins and 2; expected the same bins$"):
        population_stability([1], [1, 2])


@given(BINS, BINS, st.integers(1, 100))
def test_it_is_zero_of_equal_shares_and_the_same_in_both_directions(
    one: list[int], other: list[int], times: int
) -> None:
    assert population_stability([times * rows for rows in one], one) == pytest.approx(0)
    found = population_stability(one, other)
    assert found == pytest.approx(population_stability(other, one))
    assert found is not None
    assert found >= 0
