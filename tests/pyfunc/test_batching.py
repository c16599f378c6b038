from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pyfunc.batching import CALL_TOKENS, padded_length, split_into_batches


@given(st.lists(st.integers(1, 40)), st.integers(1, 100))
def test_a_batch_fits_or_is_one_row_and_no_row_is_lost(
    lengths: list[int], batch_tokens: int
) -> None:
    found = list(split_into_batches(lengths, batch_tokens))
    assert sorted(row for batch in found for row in batch) == list(range(len(lengths)))
    for batch in found:
        padded = len(batch) * max(lengths[row] for row in batch)
        assert padded <= batch_tokens or len(batch) == 1


@given(st.lists(st.integers(1, 40)), st.integers(1, 100))
def test_longer_rows_come_first_and_equal_ones_in_order(
    lengths: list[int], batch_tokens: int
) -> None:
    order = [row for batch in split_into_batches(lengths, batch_tokens) for row in batch]
    assert order == sorted(order, key=lambda row: (-lengths[row], row))


@given(st.lists(st.integers(1, 40)), st.integers(1, 100))
def test_a_batch_ends_where_another_row_would_not_fit_or_cost_more_than_a_call(
    lengths: list[int], batch_tokens: int
) -> None:
    found = list(split_into_batches(lengths, batch_tokens))
    for batch, following in pairwise(found):
        longest = lengths[batch[0]]
        padding = sum(longest - lengths[row] for row in batch)
        assert padding <= CALL_TOKENS
        assert (len(batch) + 1) * longest > batch_tokens or padding + longest - lengths[
            following[0]
        ] > CALL_TOKENS


def test_rows_of_equal_length_fill_their_batches() -> None:
    assert [len(batch) for batch in split_into_batches([8] * 10, 32)] == [4, 4, 2]


def test_no_rows_are_no_batches() -> None:
    assert list(split_into_batches([], 32)) == []


@given(st.integers(1, 10_000))
def test_a_row_is_padded_by_an_eighth_at_most(tokens: int) -> None:
    assert tokens <= padded_length(tokens) <= tokens + tokens / 8


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_a_longer_row_is_not_padded_to_less(tokens: int, more: int) -> None:
    assert padded_length(tokens) <= padded_length(tokens + more)
    assert padded_length(padded_length(tokens)) == padded_length(tokens)


def test_rows_are_padded_to_few_lengths() -> None:
    assert len({padded_length(tokens) for tokens in range(1, 513)}) == 56
