"""Two versions on the same rows: the exact test, the interval of the papers, what they promise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from tasks.measures.paired import LEVEL, PairedCounts, mcnemar_p_value, paired_difference

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


def test_rows_that_both_answer_alike_decide_nothing() -> None:
    assert mcnemar_p_value(PairedCounts(0, 0, 0, 0)) == 1
    assert mcnemar_p_value(PairedCounts(500, 0, 0, 20)) == 1
    for both in (0, 10_000):
        assert mcnemar_p_value(PairedCounts(both, 1, 9, 3)) == pytest.approx(11 / 1_024)


def test_rows_are_counted_by_who_is_right() -> None:
    pairs = [(True, True)] * 4 + [(True, False)] * 3 + [(False, True)] * 2 + [(False, False)]
    assert PairedCounts.of(pairs) == (4, 3, 2, 1)
