"""Which labels count does not depend on the order in which they came, nor on chance."""

import itertools
import json
import os
from collections import Counter
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.common.settings import get_settings
from tasks.dataset.splitting import digest_text
from tasks.feedback.choosing import FeedbackRows, choose_rows, is_held_out, largest_count
from tasks.feedback.store import Batch, digest_store
from tasks.feedback.types import FeedbackChoices, LeftOut
from tests.tasks.feedback.steps import LABELS, NOON, load, take

Said = tuple[str, str, int, str]  # text, label, hour, by


def stored(said: list[Said]) -> pd.DataFrame:
    rows = [
        {
            "text": text,
            "text_digest": digest_text(text),
            "label": label,
            "when": NOON + timedelta(hours=hour),
            "by": by,
            "batch": "batch-00001-0123456789ab.parquet",
            "source": "a.jsonl",
            "source_row": number,
            "model_uri": "models:/p/1",
            "answered_label": "positive",
            "answered_score": 0.9,
            "member": "",
        }
        for number, (text, label, hour, by) in enumerate(said, start=1)
    ]
    return pd.DataFrame(rows)


def choose(said: list[Said], **choices: Any) -> FeedbackRows:
    return choose_rows(stored(said), FeedbackChoices(**choices), "digest")


def kept(found: FeedbackRows) -> list[tuple[str, str, int]]:
    hours = (found.rows["when"] - NOON) // pd.Timedelta(hours=1)
    return list(zip(found.rows["text"], found.rows["label"], hours, strict=True))


CONFLICT: list[Said] = [
    ("film", "positive", 1, "anna"),
    ("FILM", "negative", 2, "bert"),
    ("film", "positive", 3, "carl"),
    ("film", "positive", 4, "anna"),
    ("other", "negative", 1, ""),
]


def test_newest_label_counts_from_when_it_was_news() -> None:
    found = choose(CONFLICT)
    assert kept(found) == [("other", "negative", 1), ("film", "positive", 3)]
    assert found.counts == LeftOut(duplicates=2, overruled=1)
    reasons = found.left_out.set_index("source_row")["reason"].to_dict()
    assert reasons == {1: "duplicates", 2: "overruled", 4: "duplicates"}


def test_labels_that_contradict_each_other_are_set_aside_by_name() -> None:
    found = choose(CONFLICT, conflicts="set_aside")
    assert kept(found) == [("other", "negative", 1)]
    assert found.counts == LeftOut(set_aside=4)
    assert sorted(found.left_out["source_row"]) == [1, 2, 3, 4]
    assert set(found.left_out["source"]) == {"a.jsonl"}


def test_two_newest_labels_set_a_text_aside() -> None:
    found = choose([*CONFLICT, ("film", "negative", 4, "bert")])
    assert kept(found) == [("other", "negative", 1)]
    assert found.counts == LeftOut(set_aside=5)


def test_other_writings_of_a_label_are_no_conflict() -> None:
    found = choose([("film", "1", 1, ""), ("film", "1.0", 2, "")], conflicts="set_aside")
    assert kept(found) == [("film", "1", 1)]


SAID = st.lists(
    st.tuples(
        st.sampled_from(["a film", "A  film", "bad", "good", "fine"]),
        st.sampled_from(LABELS),
        st.integers(0, 4),
        st.sampled_from(["", "anna", "bert"]),
    ),
    min_size=1,
    max_size=25,
    # As the store has them.
    unique_by=lambda row: (digest_text(row[0]), *row[1:]),
)
CHOICES = st.fixed_dictionaries(
    {
        "conflicts": st.sampled_from(["newest", "set_aside"]),
        "max_share_by": st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]),
    }
)


@settings(max_examples=50)
@given(SAID, CHOICES, st.randoms(use_true_random=False))
def test_choice_does_not_depend_on_the_order(
    said: list[Said], choices: dict[str, Any], random: Any
) -> None:
    found = choose(said, **choices)
    random.shuffle(said)
    again = choose(said, **choices)
    pd.testing.assert_frame_equal(found.rows, again.rows)
    assert found.counts == again.counts
    assert len(found.rows) + len(found.left_out) == len(said)
    assert found.rows["text_digest"].is_unique
    # What counts is the newest that was said.
    for row in found.rows.itertuples():
        times = {hour: label for text, label, hour, _ in sorted(said) if same(text, row.text)}
        assert times[max(times)] == row.label


def same(one: str, other: object) -> bool:
    return digest_text(one) == digest_text(str(other))


@settings(max_examples=50)
@given(SAID, CHOICES)
def test_nobody_has_more_than_the_share_of_what_counts(
    said: list[Said], choices: dict[str, Any]
) -> None:
    found = choose(said, **choices)
    most = Fraction(str(choices["max_share_by"])) * len(found.rows)
    by = Counter(found.rows["by"])
    assert all(count <= most for name, count in by.items() if name)
    whole = choose(said, **choices | {"max_share_by": 1.0})
    assert whole.counts.capped == 0
    assert len(found.rows) + found.counts.capped == len(whole.rows)
    assert by[""] == Counter(whole.rows["by"])[""]


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 7), max_size=4),
    st.integers(0, 7),
    st.sampled_from([0.0, 0.1, 0.25, 0.29, 0.3, 0.5, 0.75, 0.99, 1.0]),
)
def test_cap_leaves_as_many_labels_as_any_choice_could(
    counts: dict[str, int], others: int, max_share: float
) -> None:
    most = largest_count(counts, others, max_share)
    left = others + sum(min(count, most) for count in counts.values())
    share = Fraction(str(max_share))
    assert all(min(count, most) <= share * left for count in counts.values())
    for choice in itertools.product(*(range(count + 1) for count in counts.values())):
        total = others + sum(choice)
        assert total <= left or any(count > share * total for count in choice)


def test_cap_of_many_labels_is_found_at_once() -> None:
    assert largest_count({"a": 10**9, "b": 10**9}, 1, 0.499) == 249
    assert largest_count({"a": 10**9}, 10, 0.5) == 10
    assert largest_count({"a": 100, "b": 50}, 0, 0.29) == 0
    assert largest_count({"a": 71, "b": 29}, 0, 0.71) == 71
    assert largest_count({"a": 10**6}, 1, 0.0) == 0


def test_capped_labels_are_chosen_by_their_texts_alone() -> None:
    said = [(f"film {number}", "positive", number, "anna") for number in range(40)]
    said += [(f"other {number}", "positive", number, "") for number in range(10)]
    found = choose(said, max_share_by=0.5)
    assert found.counts == LeftOut(capped=30)
    chosen = set(found.rows["text"])
    more = [*said, *((f"more {number}", "negative", number, "") for number in range(5))]
    assert chosen < set(choose(more, max_share_by=0.5).rows["text"])
    # Not the first of their digests, which are the test part of a training.
    of_anna = found.rows.loc[found.rows["by"] == "anna", "text_digest"]
    assert set(of_anna) != set(sorted(digest_text(text) for text, *_ in said[:40])[:10])


def test_digest_of_a_store_does_not_depend_on_the_order_of_its_batches() -> None:
    batches = [Batch(f"{number}", sha256, pa.table({})) for number, sha256 in enumerate("ab")]
    assert digest_store(batches) == digest_store(batches[::-1]) != digest_store(batches[:1])


def test_a_text_is_held_out_for_ever_and_so_is_half_of_them() -> None:
    texts = [f"film number {number}" for number in range(2_000)]
    held_out = [is_held_out(digest_text(text)) for text in texts]
    assert 900 < sum(held_out) < 1_100
    # And of each part of a split, which goes by the same digest.
    first = sorted(texts, key=digest_text)[:200]
    assert 70 < sum(is_held_out(digest_text(text)) for text in first) < 130
    found = choose([(text, "positive", 0, "") for text in texts[:50]])
    assert dict(zip(found.rows["text"], found.rows["held_out"], strict=True)) == dict(
        zip(texts[:50], held_out[:50], strict=True)
    )


FILES = st.lists(SAID, min_size=2, max_size=4)


@settings(max_examples=20)
@given(FILES, st.randoms(use_true_random=False))
def test_store_does_not_depend_on_the_order_in_which_files_come(
    files: list[list[Said]], random: Any
) -> None:
    contents = {
        f"{number}.jsonl": "".join(json.dumps(as_row(said)) + "\n" for said in rows)
        for number, rows in enumerate(files)
    }
    names = list(contents)
    in_order = collect_one_by_one([(name, contents[name]) for name in names])
    random.shuffle(names)
    shuffled = collect_one_by_one([(name, contents[name]) for name in names])
    assert in_order == shuffled


def as_row(said: Said) -> dict[str, str]:
    text, label, hour, by = said
    when = NOON + timedelta(hours=hour)
    return {"text": text, "label": label, "when": when.isoformat(), "by": by}


def collect_one_by_one(files: list[tuple[str, str]]) -> set[tuple[str, str, datetime, str, bool]]:
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "MILLSTREAM_HOME", name)
        get_settings.cache_clear()
        inbox = Path(name) / "feedback"
        inbox.mkdir()
        for file, content in files:
            (inbox / file).write_text(content)
            take()
        rows = load(Path(name)).rows
    get_settings.cache_clear()
    columns = ["text_digest", "label", "when", "by", "held_out"]
    return set(rows[columns].itertuples(index=False, name=None))
