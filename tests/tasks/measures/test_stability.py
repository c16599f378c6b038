"""The population stability index: that of its definition, and a shift that is not by chance."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.measures.paired import LEVEL
from tasks.measures.stability import SHIFT, Stability, population_stability

BINS = st.lists(st.integers(0, 1_000), min_size=4, max_size=4).filter(any)


def stability(bins: list[int], reference: list[int]) -> Stability:
    found = population_stability(bins, reference)
    assert found is not None
    return found


def test_index_is_that_of_its_definition() -> None:
    found = stability([50, 50], [25, 75])
    expected = (0.5 - 0.25) * math.log(2) + (0.5 - 0.75) * math.log(2 / 3)
    assert found.psi == pytest.approx(expected)
    assert expected > SHIFT
    assert found.is_shift
    assert not stability([5, 5], [25, 75]).is_shift  # ten rows may do so


def test_a_bin_without_rows_has_the_share_of_a_ten_thousandth() -> None:
    expected = (1 - 0.99) * math.log(1 / 0.99) + (0.0001 - 0.01) * math.log(0.0001 / 0.01)
    assert stability([50, 0, 0], [99, 1, 0]).psi == pytest.approx(expected)


def test_there_is_none_without_rows() -> None:
    assert population_stability([0, 0], [1, 2]) is None
    assert population_stability([1, 2], ()) is None
    with pytest.raises(ValueError, match=r"^1 bins and 2; expected the same bins$"):
        population_stability([1], [1, 2])


@given(BINS, BINS, st.integers(1, 100))
def test_it_is_zero_of_equal_shares_and_the_same_in_both_directions(
    one: list[int], other: list[int], times: int
) -> None:
    assert stability([times * rows for rows in one], one) == pytest.approx((0, 1))
    found = stability(one, other)
    assert found == pytest.approx(stability(other, one))
    assert found.psi >= 0


def test_rows_of_one_distribution_seldom_shift() -> None:
    random = np.random.default_rng(0)
    shares = np.arange(1, 21) / 210
    pairs = [random.multinomial(200, shares, 2).tolist() for _ in range(500)]
    found = [stability(*pair) for pair in pairs]
    assert sum(one.psi > SHIFT for one in found) > 100
    assert sum(one.is_shift for one in found) < 2 * LEVEL * len(found)
