"""Two versions on the same rows: the exact test, the interval of the papers, what they promise."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from tasks.measures.paired import (
    LEVEL,
    PairedCounts,
    mcnemar_p_value,
    paired_difference,
    repeated_p_value,
)

COUNTS = st.builds(PairedCounts, *[st.integers(0, 300)] * 4).filter(lambda found: found.rows > 0)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    # For 95 %; the differences there are of the first minus the second. Newcombe 1998, table II;
    # Altman, Machin, Bryant and Gardner, "Statistics with Confidence", 2000, table 6.2; Fagerland,
    # Lydersen and Laake, Statistics in Medicine 33, 2014, of Bentur's patients.
    [
        ((36, 12, 2, 0), 0.057, 0.340),
        ((14, 5, 0, 22), 0.011, 0.226),
        ((1, 1, 7, 12), -0.507, -0.026),
    ],
)
def test_interval_is_that_of_the_papers(
    counts: tuple[int, int, int, int], low: float, high: float
) -> None:
    found = paired_difference(PairedCounts(*counts), level=0.025)
    assert (-found.high, -found.low) == pytest.approx((low, high), abs=6e-4)


@given(COUNTS)
def test_interval_holds_the_difference_and_changes_its_sign_with_the_sides(
    counts: PairedCounts,
) -> None:
    found = paired_difference(counts)
    both, only_present, only_other, neither = counts
    turned = paired_difference(PairedCounts(both, only_other, only_present, neither))
    assert found.value == pytest.approx(counts.accuracy_of_other - counts.accuracy_of_present)
    assert -1 - 1e-9 <= found.low <= found.value <= found.high <= 1 + 1e-9
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


def test_equal_versions_pass_the_test_no_more_often_than_its_level_says() -> None:
    for decided in range(200):
        won = [
            wins
            for wins in range(decided + 1)
            if mcnemar_p_value(PairedCounts(9, decided - wins, wins, 9)) < LEVEL
        ]
        assert sum(binom.pmf(won, decided, 0.5)) <= LEVEL
        assert len(won) == (decided + 1 - min(won) if won else 0)  # all that win more


def test_equal_versions_ever_pass_the_repeated_test_no_more_often_than_its_level_says() -> None:
    # The exact probability that one of 300 looks passes, row after row that one alone is right for.
    going = {0: 1.0}  # by rows won, of those that never passed
    passed = 0.0
    for decided in range(1, 301):
        after: dict[int, float] = {}
        for won, probability in going.items():
            for wins in (won, won + 1):
                after[wins] = after.get(wins, 0.0) + probability / 2
        least = _fewest_wins(decided)
        passed += sum(share for won, share in after.items() if won >= least)
        going = {won: share for won, share in after.items() if won < least}
    assert 0.02 < passed <= LEVEL


def _fewest_wins(decided: int) -> int:
    """Return how many of the decided rows the other version must win to pass now."""
    low, high = decided // 2, decided + 1
    while low < high:
        middle = (low + high) // 2
        passes = repeated_p_value(PairedCounts(0, decided - middle, middle, 0)) < LEVEL
        low, high = (low, middle) if passes else (middle + 1, high)
    return low


@given(COUNTS)
def test_who_may_look_again_needs_no_less_evidence(counts: PairedCounts) -> None:
    assert 0 < repeated_p_value(counts) <= 1
    assert repeated_p_value(counts) >= mcnemar_p_value(counts) - 1e-12
    if counts.only_other <= counts.only_present:
        assert repeated_p_value(counts) > LEVEL


def test_a_version_that_is_worse_by_the_margin_ever_passes_as_seldom() -> None:
    # Rows that both are right for say something here: 40 nights of 20 rows, by simulation.
    margin, chosen = 0.05, random.Random(20)
    passed = 0
    for _ in range(300):
        rows = PairedCounts(0, 0, 0, 0)
        for _ in range(40):
            night = chosen.choices(range(4), (70, 15, 10, 5), k=20)
            found = Counter(night)
            rows = PairedCounts(*(rows[kind] + found[kind] for kind in range(4)))
            if repeated_p_value(rows, margin) < LEVEL:
                passed += 1
                break
    assert passed <= 300 * LEVEL


def test_a_version_that_is_as_good_is_shown_to_be_no_worse_with_enough_rows() -> None:
    assert repeated_p_value(PairedCounts(500, 0, 0, 0), 0.005) > LEVEL
    assert repeated_p_value(PairedCounts(1_500, 0, 0, 0), 0.005) < LEVEL


def test_rows_that_both_answer_alike_decide_nothing() -> None:
    assert mcnemar_p_value(PairedCounts(0, 0, 0, 0)) == 1
    assert mcnemar_p_value(PairedCounts(500, 0, 0, 20)) == 1
    for both in (0, 10_000):
        assert mcnemar_p_value(PairedCounts(both, 1, 9, 3)) == pytest.approx(11 / 1_024)


def test_rows_are_counted_by_who_is_right() -> None:
    pairs = [(True, True)] * 4 + [(True, False)] * 3 + [(False, True)] * 2 + [(False, False)]
    assert PairedCounts.of(pairs) == (4, 3, 2, 1)
