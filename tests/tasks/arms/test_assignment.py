"""A key has one arm, whatever rows are beside it, and a larger share keeps it there."""

import hashlib
import random
from datetime import date
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.arms.assignment import assign_arms, key_of
from tasks.output.row_parameters import RowParameters
from tasks.output.traffic_split import TrafficSplit

# Lone surrogates stand for bytes that are not UTF-8.
KEYS = st.text(st.characters(), max_size=20)
SHARES = st.floats(0.001, 0.999)


def split_of(share: float, *, number: int = 7, key_column: str = "customer") -> TrafficSplit:
    uri = f"models:/inference_pipeline_model/{number}"
    return TrafficSplit(challenger_uri=uri, fingerprint="f", share=share, key_column=key_column)


def arms_of(customers: list[object], split: TrafficSplit) -> list[int]:
    texts = [f"text {place}" for place in range(len(customers))]
    table = pa.table({"text": texts, "customer": customers})
    return assign_arms(table, RowParameters(traffic=split)).arms


@given(st.lists(st.integers(0, 50), min_size=1, max_size=50), SHARES, st.randoms())
def test_arm_of_a_key_depends_on_nothing_beside_it(
    customers: list[int], share: float, chance: random.Random
) -> None:
    split = split_of(share)
    by_key = dict(zip(customers, arms_of(list(customers), split), strict=True))
    chance.shuffle(customers)
    assert arms_of(list(customers), split) == [by_key[customer] for customer in customers]
    assert [arms_of([customer], split) for customer in customers] == [
        [by_key[customer]] for customer in customers
    ]


@given(KEYS, SHARES, SHARES)
def test_a_larger_share_keeps_the_keys_of_a_smaller_one(
    key: str, share: float, other: float
) -> None:
    smaller, larger = sorted((share, other))
    if split_of(smaller).goes_to_challenger(key):
        assert split_of(larger).goes_to_challenger(key)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_challenger_answers_its_share_and_another_one_an_independent_share(share: float) -> None:
    keys = [f"customer-{number}" for number in range(20_000)]
    first = [split_of(share).goes_to_challenger(key) for key in keys]
    second = [split_of(share, number=8).goes_to_challenger(key) for key in keys]
    both = [a and b for a, b in zip(first, second, strict=True)]
    for marks, expected in ((first, share), (second, share), (both, share**2)):
        # Five standard deviations.
        bound = 5 * (expected * (1 - expected) / len(keys)) ** 0.5
        assert abs(sum(marks) / len(keys) - expected) < bound


def test_arm_can_be_computed_elsewhere_as_the_docs_say() -> None:
    for number in range(200):
        text = f"models:/inference_pipeline_model/7\n{number}"
        place = int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) / 2**64
        assert split_of(0.3).goes_to_challenger(str(number)) == (place < 0.3)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ([7, "7", 7.0, " 7 ", b"7", Decimal("7.00"), "7.0"], "7"),
        (["007"], "007"),
        ([2**63 - 1], "9223372036854775807"),
        (["Jos\u00e9", "Jose\u0301"], "Jos\u00e9"),
        ([date(2026, 1, 2), "2026-01-02"], "2026-01-02"),
        ([None, "", "  ", float("nan"), [7], {"id": 7}], ""),
    ],
)
def test_a_value_is_one_key_in_every_format(values: list[object], key: str) -> None:
    assert {key_of(value) for value in values} == {key}


def test_rows_without_a_key_go_by_their_text_and_are_counted() -> None:
    table = pa.table({"text": ["a", "b", None], "customer": [None, "7", None]})
    found = assign_arms(table, RowParameters(traffic=split_of(0.5)))
    by_text = [int(split_of(0.5).goes_to_challenger(key)) for key in ("a", "7", "")]
    assert found == (by_text, 2)
    split = split_of(0.5, key_column="")
    assert assign_arms(table, RowParameters(traffic=split)).without_key == 0


def test_without_a_split_all_rows_are_the_controls() -> None:
    assert assign_arms(pa.table({"text": ["a", "b"]}), RowParameters()) == ([0, 0], 0)
