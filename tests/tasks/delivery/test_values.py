"""Values of every Arrow type are in the database as they were, or counted as replaced."""

import json
import math
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.delivery.types import Delivery
from tests.support.deliveries import TARGET, Place, deliver_alone, publish

WHEN = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
ID = uuid.UUID(int=7)
STRUCT = pa.struct([("of", pa.list_(pa.string())), ("n", pa.int32())])

# Type, value, and what each database returns.
TYPES: list[tuple[pa.DataType, Any, Any, Any]] = [
    (pa.string(), "很好 'a' \"b\" \\N \\. \t\r\n%s :x 🎬", ..., ...),
    (pa.string(), "", ..., ...),
    (pa.string(), "\\.", ..., ...),
    (pa.large_string(), "a", ..., ...),
    (pa.string_view(), "a longer text than fits into a view", ..., ...),
    (pa.dictionary(pa.int8(), pa.string()), "a", ..., ...),
    (pa.dictionary(pa.int8(), pa.int64()), 5, ..., ...),
    (pa.int8(), -128, ..., ...),
    (pa.int64(), -(2**63), ..., ...),
    (pa.int64(), 2**63 - 1, ..., ...),
    (pa.uint8(), 255, ..., ...),
    (pa.uint32(), 2**32 - 1, ..., ...),
    (pa.uint64(), 2**64 - 1, Decimal(2**64 - 1), str(2**64 - 1)),
    (pa.float16(), 0.5, ..., ...),
    (pa.float32(), 0.1, ..., ...),
    (pa.float64(), 0.1, ..., ...),
    (pa.float64(), 5e-324, ..., ...),
    (pa.float64(), math.inf, ..., ...),
    (pa.float64(), -math.inf, ..., ...),
    (pa.bool_(), True, ..., 1),
    (pa.bool_(), False, ..., 0),
    (pa.date32(), date(2026, 1, 2), ..., "2026-01-02"),
    (pa.date32(), date(1, 1, 1), ..., "0001-01-01"),
    (pa.date64(), date(9999, 12, 31), ..., "9999-12-31"),
    (pa.timestamp("us", "UTC"), WHEN, ..., "2026-01-02 03:04:05.678901Z"),
    (pa.timestamp("us", "America/New_York"), WHEN, ..., "2026-01-02 03:04:05.678901Z"),
    (
        pa.timestamp("us", "Nowhere/Land"),
        1,
        datetime(1970, 1, 1, 0, 0, 0, 1, UTC),
        "1970-01-01 00:00:00.000001Z",
    ),
    (pa.timestamp("ms"), WHEN.replace(tzinfo=None, microsecond=5_000), ..., ...),
    (pa.time64("us"), time(23, 59, 59, 999_999), ..., "23:59:59.999999"),
    (pa.time64("ns"), 86_399_999_999_999, time(23, 59, 59, 999_999), "23:59:59.999999999"),
    (pa.time32("ms"), time(1, 2, 3), ..., "01:02:03.000"),
    (pa.duration("ms"), timedelta(milliseconds=-1_500), ..., -1.5),
    (pa.duration("s"), timedelta(days=400), ..., 400 * 86_400.0),
    (pa.decimal128(10, 2), Decimal("-1.50"), ..., -1.5),
    (pa.decimal128(38, 10), Decimal("1234567890123456789.0123456789"), ..., str),
    (pa.decimal256(60, 0), Decimal(10**59), ..., str),
    (pa.decimal128(5, 2), Decimal("0.00"), ..., 0),
    (pa.binary(), b"\x00\xff\\'", ..., ...),
    (pa.large_binary(), b"", ..., ...),
    (pa.binary_view(), b"\x00\xff", ..., ...),
    (pa.binary(3), b"\x00\xff\n", ..., ...),
    (pa.uuid(), ID.bytes, str(ID), str(ID)),
    (pa.json_(), '{"a": 1}', ..., ...),
    (pa.list_(pa.int64()), [1, None], ..., json.dumps),
    (pa.list_(pa.string()), ["a", None, 'q"\n'], ..., json.dumps),
    (pa.large_list(pa.float64()), [], ..., json.dumps),
    (STRUCT, {"of": ["x"], "n": None}, ..., json.dumps),
    (pa.map_(pa.string(), pa.float64()), [("é", 0.5)], {"é": 0.5}, '{"é":0.5}'),
    (pa.list_(pa.date32()), [date(2026, 1, 2)], ["2026-01-02"], '["2026-01-02"]'),
]


def delivered(place: Place, folder: Path, column: pa.Array) -> tuple[list[Any], Delivery]:
    """Deliver a column; return what a query brings, and the delivery."""
    record = publish(folder, pa.table({"value": column}))
    delivery = deliver_alone(record, folder, TARGET, place.address)
    return [value for (value,) in place.rows("value")], delivery


def of_backend(place: Place, value: Any, in_postgres: Any, in_sqlite: Any) -> Any:
    """Return what a database should return: `...` is the value itself."""
    expected = in_postgres if place.backend == "postgresql" else in_sqlite
    if expected is json.dumps:
        return json.dumps(value, separators=(",", ":"))
    if expected is str:
        return str(value)
    if expected is not ...:
        return expected
    if isinstance(value, int | datetime) and place.backend == "sqlite":
        return value if isinstance(value, int) else str(value)[:-3]
    return value


def column_of(kind: pa.DataType, *values: Any) -> pa.Array:
    storage = pa.array(values, getattr(kind, "storage_type", kind))
    return storage.cast(kind) if isinstance(kind, pa.BaseExtensionType) else storage


def test_values_of_every_type_are_there_as_they_were(place: Place, tmp_path: Path) -> None:
    columns, expected = {}, {}
    for number, (kind, value, in_postgres, in_sqlite) in enumerate(TYPES):
        name = f"{number} {kind}"[:40]
        columns[name] = column_of(kind, value, None)
        expected[name] = of_backend(place, value, in_postgres, in_sqlite)
    record = publish(tmp_path, pa.table(columns))
    delivery = deliver_alone(record, tmp_path, TARGET, place.address)
    assert (delivery.rows, delivery.replaced) == (2, 0)
    first, second = place.rows()
    assert dict(zip(columns, first, strict=False)) == expected
    assert dict(zip(columns, second, strict=False)) == dict.fromkeys(columns)


def test_column_of_nulls_alone_is_text(place: Place, tmp_path: Path) -> None:
    found, delivery = delivered(place, tmp_path, pa.nulls(2))
    assert found == [None, None]
    assert delivery.replaced == 0


def test_no_rows_make_the_table_all_the_same(place: Place, tmp_path: Path) -> None:
    found, delivery = delivered(place, tmp_path, pa.array([], pa.int64()))
    assert (found, delivery.rows) == ([], 0)
    found, delivery = delivered(place, tmp_path, pa.array([5], pa.int64()))
    assert (found, delivery.rows) == ([5], 1)


LATE = 2**31 - 1  # days; no calendar of Arrow's

# Type, value as Arrow stores it, what each database has, and where it is counted as replaced.
REPLACED: list[tuple[pa.DataType, Any, Any, Any, tuple[str, ...]]] = [
    (pa.string(), "a\0b", "a\ufffdb", "a\0b", ("postgresql",)),
    (pa.list_(pa.string()), ["a\0b", "\\u0000"], ["a\ufffdb", "\\u0000"], None, ("postgresql",)),
    (pa.float64(), math.nan, math.nan, None, ("sqlite",)),
    (pa.date32(), LATE, None, None, ("postgresql", "sqlite")),
    (pa.date32(), -800_000, None, "-0221-09-04", ("postgresql",)),
    (pa.timestamp("us"), 2**62, None, None, ("postgresql", "sqlite")),
    (pa.timestamp("ms", "UTC"), -(2**62), None, None, ("postgresql", "sqlite")),
    # Of the year 70000, which Arrow prints as 4464 where there is a zone.
    (pa.timestamp("s", "UTC"), 2_146_821_840_000, None, None, ("postgresql", "sqlite")),
    (pa.timestamp("ms"), -62_167_219_200_001, None, "-0001-12-31 23:59:59.999", ("postgresql",)),
    (pa.duration("s"), 2**62, None, float(2**62), ("postgresql",)),
]


@pytest.mark.parametrize(("kind", "value", "in_postgres", "in_sqlite", "where"), REPLACED, ids=str)
def test_value_that_a_database_cannot_hold_is_replaced_and_counted(
    place: Place,
    tmp_path: Path,
    kind: pa.DataType,
    value: Any,
    in_postgres: Any,
    in_sqlite: Any,
    where: tuple[str, ...],
) -> None:
    if isinstance(value, int):
        bits = pa.int32() if kind == pa.date32() else pa.int64()
        column = pa.array([value], bits).view(kind)
    else:
        column = pa.array([value], kind)
    found, delivery = delivered(place, tmp_path, column)
    assert delivery.replaced == (place.backend in where)
    if isinstance(value, list) and place.backend == "sqlite":
        assert [json.loads(text) for text in found] == [value]
        return
    assert str(found) == str([in_postgres if place.backend == "postgresql" else in_sqlite])
    again = deliver_alone(
        publish(tmp_path, pa.table({"value": column})), tmp_path, TARGET, place.address
    )
    assert (again.skipped, again.replaced) == (True, delivery.replaced)


def test_list_with_what_python_cannot_hold_is_null(place: Place, tmp_path: Path) -> None:
    days = pa.array([LATE, 1], pa.int32()).view(pa.date32())
    column = pa.ListArray.from_arrays([0, 1, 2], days)
    record = publish(tmp_path, pa.table({"value": column}))
    assert deliver_alone(record, tmp_path, TARGET, place.address).replaced == 1
    (first,), (second,) = place.rows("cast(value as text)")
    assert (first, json.loads(second)) == (None, ["1970-01-02"])


def test_rule_leaves_values_of_every_type_as_they_are(place: Place, tmp_path: Path) -> None:
    columns = {}
    for number, (kind, value, *_) in enumerate(TYPES):
        columns[f"c{number}"] = column_of(kind, *[value] * 5)
    whole = pa.table(columns | {"decision_deliver": [True, False, True, True, None]})
    done = deliver_alone(publish(tmp_path, whole), tmp_path, TARGET, place.address)
    assert (done.rows, done.replaced) == (3, 0)
    (first, *others) = place.rows()
    assert [row[:-1] for row in others] == [first[:-1]] * 2
    assert [row[-1] for row in (first, *others)] == [1, 3, 4]
    assert None not in first


def test_bytes_that_are_no_text_are_replaced_and_counted(place: Place, tmp_path: Path) -> None:
    column = pa.array([b"a\xffb", b"c"]).view(pa.string())
    found, delivery = delivered(place, tmp_path, column)
    assert found == ["a\ufffdb", "c"]
    assert delivery.replaced == 1


@pytest.mark.parametrize("year", [10_000, 32_000])
def test_years_of_five_digits_are_kept(place: Place, tmp_path: Path, year: int) -> None:
    days = pa.array([int((year - 1970) * 365.2425)], pa.int32()).view(pa.date32())
    deliver_alone(publish(tmp_path, pa.table({"v": days})), tmp_path, TARGET, place.address)
    # Python has no such date.
    ((found,),) = place.rows("cast(v as text)")
    assert found.startswith((f"{year}-", f"{year - 1}-"))


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
ANY_ROW = st.tuples(
    st.text(),
    st.floats(allow_nan=False),
    st.integers(-(2**63), 2**63 - 1),
    st.binary(),
    st.lists(st.text() | st.none()),
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES.map(lambda name: name[:15]), rows=st.lists(ANY_ROW, min_size=1, max_size=20))
def test_any_value_in_any_column_is_there_as_it_was(
    place: Place, tmp_path: Path, name: str, rows: list[tuple[Any, ...]]
) -> None:
    place.query("drop table if exists predictions")
    kinds = [pa.string(), pa.float64(), pa.int64(), pa.binary(), pa.list_(pa.string())]
    names = [f"{name}{suffix}" for suffix in "01234"]
    columns = [pa.array([row[number] for row in rows], kind) for number, kind in enumerate(kinds)]
    record = publish(tmp_path, pa.table(columns, names=names))
    done = deliver_alone(record, tmp_path, TARGET, place.address)
    in_postgres = place.backend == "postgresql"
    with_nul = ["\0" in text for text, *_, parts in rows]
    with_nul += ["\0" in "".join(filter(None, parts)) for *_, parts in rows]
    assert done.replaced == (sum(with_nul) if in_postgres else 0)

    def stored(text: str | None) -> str | None:
        return text and (text.replace("\0", "\ufffd") if in_postgres else text)

    expected = [
        (stored(t), f, i, b, [stored(part) for part in parts]) for t, f, i, b, parts in rows
    ]
    found = [(*row[:4], row[4] if in_postgres else json.loads(row[4])) for row in place.rows()]
    assert found == expected
