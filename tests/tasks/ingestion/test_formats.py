import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ingestion.formats import (
    EXPECTED,
    Format,
    Record,
    format_of,
    in_blocks,
    stem_of,
    without_break,
)

KINDS = {"csv": "csv", "tsv": "tsv", "jsonl": "jsonl", "json": "jsonl", "parquet": "parquet"}
COMPRESSIONS = {"": "", ".gz": "gzip", ".zst": "zstd"}


@pytest.mark.parametrize("ending", COMPRESSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_end_of_a_name_tells_the_format(kind: str, ending: str) -> None:
    name = f"reviews.v2.{kind}{ending}"
    found = format_of(name)
    assert found is not None
    assert (found.kind, found.compression) == (KINDS[kind], COMPRESSIONS[ending])
    assert format_of(name.upper()) == found
    assert stem_of(name) == stem_of(name.upper()).lower() == "reviews.v2"


@pytest.mark.parametrize(
    "name", ["a", "csv", "a.txt", "a.csv.bz2", "a.gz", "a.csv.gz.gz", "a.csv\n", "a.csvx", "a.ccsv"]
)
def test_other_names_tell_none(name: str) -> None:
    assert format_of(name) is None
    assert stem_of(name) == name


def test_only_the_last_ending_is_taken_off() -> None:
    assert stem_of("a.csv.csv") == "a.csv"
    assert format_of("a.parquet.csv") == Format("csv", "")


@pytest.mark.parametrize("ending", [*(f".{kind}" for kind in KINDS), ".gz", ".zst"])
def test_message_names_what_is_expected(ending: str) -> None:
    assert ending in EXPECTED


@given(sizes=st.lists(st.integers(0, 2**23)), rows=st.integers(1, 5))
def test_blocks_hold_all_records_in_order_and_are_bounded(sizes: list[int], rows: int) -> None:
    records = [Record(number, size, []) for number, size in enumerate(sizes)]
    blocks = list(in_blocks(records, rows))
    assert [record for block in blocks for record in block] == records
    for block in blocks:
        assert 1 <= len(block) <= rows
        assert sum(record.size for record in block[:-1]) < 2**23


@pytest.mark.parametrize(
    ("line", "expected"),
    [(b"a\n", b"a"), (b"a\r\n", b"a"), (b"a", b"a"), (b"a\r", b"a"), (b"a\n\n", b"a\n")],
)
def test_final_line_break_alone_is_left_out(line: bytes, expected: bytes) -> None:
    assert without_break(line) == expected
