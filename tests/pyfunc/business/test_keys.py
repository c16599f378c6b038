"""Keys of any type find the row that they mean, and nothing else."""

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyfunc.business.column_types import is_null, to_key
from pyfunc.business.spec import KeyType
from tests.pyfunc.business.sources import Source, found

UUID_4 = "3f2b8c1e-0d4a-4f6b-9a7c-5e8d1b2c3d4f"

# Of which no column has a row.
OF_NO_ROW: list[Any] = [
    "",
    " ",
    "\0",
    "a\0b",
    "\ud800",
    b"1",
    True,
    False,
    np.True_,
    [1],
    {"id": 1},
    (1,),
    {1},
    object(),
    10**5_000,
    Decimal("sNaN"),
    np.array([1, 2]),
]
NULLS: list[Any] = [None, math.nan, pd.NA, pd.NaT, Decimal("NaN"), np.datetime64("NaT"), np.nan]
KEYS: list[Any] = [
    *OF_NO_ROW,
    *NULLS,
    1,
    1.0,
    "1",
    " 1 ",
    "1.0",
    "+1",
    "01",
    "1_0",
    "１",
    np.int64(1),
    np.float64(1),
    Decimal("1.00"),
    2.5,
    -1,
    2**53 + 1,
    float(2**53 + 2),
    2**63,
    -(2**64),
    1e300,
    math.inf,
    Decimal("Infinity"),
    Decimal("1E+999999"),
    "'",
    "1'); drop table customer; --",
    "1 or true",
    "%s",
    ":keys",
    "%(keys)s",
    "é" * 10_000,
    date(2026, 11, 29),
    datetime(2026, 11, 29, tzinfo=UTC),
    pd.Timestamp("2026-11-29 00:00:00.000000001"),
    UUID(UUID_4),
    UUID_4.upper(),
]


MEANT: dict[KeyType, list[tuple[object, object]]] = {
    "integer": [
        *((key, 1) for key in (1, 1.0, "1", " 1 ", "1.0", "+1", "01", np.int64(1), Decimal("1.0"))),
        *((key, None) for key in (1.5, "1.5", "1e0", "1_0", "１", 2**63, math.inf)),
        (2.0**53 - 1, 2**53 - 1),
        (2.0**53, None),  # which whole number was meant is lost
    ],
    "string": [
        *((key, "1") for key in (1, 1.0, "1", " 1 ", np.float64(1), Decimal("1.00"))),
        *((key, key) for key in ("1.0", "01", "a b", "'")),
        (2.0**53, None),
        (UUID(UUID_4), UUID_4),
        (date(2026, 11, 29), "2026-11-29"),
    ],
    "uuid": [
        *((key, UUID_4) for key in (UUID_4, UUID_4.upper(), f"{{{UUID_4}}}", UUID(UUID_4))),
        *((key, None) for key in ("x", 1, 1.0, UUID_4[1:])),
    ],
    "number": [
        *((key, 1.0) for key in (1, 1.0, "1", " 1.0 ", Decimal(1))),
        *((key, None) for key in ("nan", "1_0", "x", 10**400)),
    ],
    "date": [
        ("2026-11-29", date(2026, 11, 29)),
        (datetime(2026, 11, 29, tzinfo=UTC), date(2026, 11, 29)),
        (20261129, None),
    ],
    "timestamp": [
        ("2026-11-29T00:00:00Z", datetime(2026, 11, 29, tzinfo=UTC)),
        (date(2026, 11, 29), datetime(2026, 11, 29, tzinfo=UTC)),
        (1_700_000_000, None),
    ],
}


@pytest.mark.parametrize("kind", list(MEANT))
def test_a_key_is_what_the_column_compares(kind: KeyType) -> None:
    for key, expected in MEANT[kind]:
        assert (key, to_key(key, kind)) == (key, expected)
        assert type(to_key(key, kind)) is type(expected)


KINDS: tuple[KeyType, ...] = ("string", "integer", "number", "boolean", "timestamp", "date", "uuid")


@pytest.mark.parametrize("kind", KINDS)
def test_no_key_raises_and_null_is_none(kind: KeyType) -> None:
    keys = [to_key(key, kind) for key in KEYS]
    assert keys[: len(OF_NO_ROW) + len(NULLS)] == [None] * (len(OF_NO_ROW) + len(NULLS))
    assert len({key for key in keys if key is not None}) >= 1  # that hash, and sort
    sorted(key for key in keys if key is not None)


@pytest.mark.parametrize(
    ("column", "value", "matches"),
    [
        ("integer", "1", {1}),
        ("bigint", "9007199254740993", {2**53 + 1}),
        ("smallint", "1", {1}),
        ("varchar(40)", "''''", {"'"}),
        ("text", "'1''); drop table customer; --'", {"1'); drop table customer; --"}),
        ("char(3)", "'%s'", {"%s"}),
        ("numeric(10, 2)", "2.5", {2.5}),
        ("double precision", "1", {1.0}),
        ("date", "'2026-11-29'", {date(2026, 11, 29)}),
    ],
    ids=lambda value: value if isinstance(value, str) and "'" not in value else "",
)
def test_mixed_keys_find_their_rows_alone(
    source: Source, column: str, value: str, matches: set[Any]
) -> None:
    source.execute(f"create table t (id {column}, hit integer)")
    source.execute(f"insert into t values ({value}, 7)")
    lookup = source.look_up("select id, hit from t where id in :keys", missing="reject")
    kind = lookup.spec.key_type
    answers = found(lookup, KEYS)
    assert len(answers) == len(KEYS)
    for key, answer in zip(KEYS, answers, strict=True):
        if to_key(key, kind) in matches:
            assert answer == (7,)
        else:
            null = "no customer_id" if is_null(key) else "no row of this customer_id"
            assert answer == f"customer: {null}"
    assert matches <= {to_key(key, kind) for key in KEYS}


def test_a_uuid_is_found_however_it_is_written(postgres_source: Source) -> None:
    postgres_source.execute(
        "create table t (id uuid, hit integer)", f"insert into t values ('{UUID_4}', 7)"
    )
    lookup = postgres_source.look_up("select id, hit from t where id in :keys")
    keys = [UUID_4, UUID_4.upper(), UUID_4.replace("-", ""), UUID(UUID_4), "x", 1, None]
    assert found(lookup, keys) == [(7,)] * 4 + [(None,)] * 3


def test_a_time_without_zone_is_that_of_utc(postgres_source: Source) -> None:
    postgres_source.execute(
        "create table t (id timestamp, seen timestamptz)",
        "insert into t values ('2026-11-29 10:00', '2026-11-29 10:00+02')",
    )
    lookup = postgres_source.look_up("select id, seen from t where id in :keys")
    assert found(lookup, ["2026-11-29T10:00:00+00:00", "2026-11-29T10:00:00+05:45"]) == [
        (datetime(2026, 11, 29, 8, tzinfo=UTC),),
        (None,),
    ]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_texts_that_a_database_cannot_encode_have_no_row(postgres: Any, encoding: str) -> None:
    source = Source("postgresql", postgres.new_database(encoding))
    source.execute("create table t (id text, hit text)", "insert into t values ('a', 'b')")
    lookup = source.look_up("select id, hit from t where id in :keys")
    assert found(lookup, ["a", "很", "a"]) == [("b",), (None,), ("b",)]


def test_rows_without_a_key_are_those_of_no_row(source: Source) -> None:
    source.execute("create table t (id integer, other integer, hit text)")
    source.execute("insert into t values (1, null, 'one'), (2, null, 'two'), (3, 3, 'three')")
    lookup = source.look_up("select other, hit from t where id in :keys", missing="reject")
    assert found(lookup, [1, 2, 3, None, "x"]) == [
        "customer: no row of this customer_id",
        "customer: no row of this customer_id",
        ("three",),
        "customer: no customer_id",
        "customer: no row of this customer_id",
    ]


ANY_KEY = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.integers(),
    st.floats(),
    st.sampled_from([float(n) for n in range(5)]),
    st.sampled_from([f" {n} " for n in range(5)]),
    st.decimals(),
    st.text(max_size=5),
    st.binary(max_size=2),
    st.datetimes(),
    st.uuids(),
    st.lists(st.integers(), max_size=2),
)


def reference(table: dict[int, str], keys: Sequence[object]) -> list[Any]:
    """Look each row up alone, by what its text says."""
    answers: list[Any] = []
    for key in keys:
        number = None
        if isinstance(key, int | float | Decimal | str) and not isinstance(key, bool):
            try:
                value = Decimal(key.strip() if isinstance(key, str) else key)
                number = int(value) if value == value.to_integral_value() else None
            except (ArithmeticError, ValueError):
                number = None
        answers.append((table.get(number) if number is not None else None,))
    return answers


@pytest.fixture(scope="module")
def table_source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    source = Source("sqlite", f"sqlite:///{tmp_path_factory.mktemp('keys')}/crm.db")
    source.execute("create table t (id integer primary key, tier text)")
    return source


ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=6)  # half characters too
STORED = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stored=st.sets(STORED, max_size=5), others=st.lists(ANY_TEXT, max_size=5))
def test_texts_of_any_characters_find_their_own_rows(
    source: Source, stored: set[str], others: list[str]
) -> None:
    table = {text.strip(): f"of {number}" for number, text in enumerate(stored)}
    source.execute("drop table if exists t", "create table t (id text, hit text)")
    for text, hit in table.items():
        written = text.replace("'", "''")
        source.execute(f"insert into t values ('{written}', '{hit}')")
    lookup = source.look_up("select id, hit from t where id in :keys")
    keys = [*stored, *others, *(f" {text} " for text in stored)]
    table.pop("", None)
    assert found(lookup, keys) == [(table.get(key.strip()),) for key in keys]
    lookup.close()


@given(st.dictionaries(st.integers(-3, 5), st.text("abc", max_size=3)), st.lists(ANY_KEY))
def test_look_ups_of_a_window_are_those_of_its_rows(
    table_source: Source, table: dict[int, str], keys: list[object]
) -> None:
    rows = ", ".join(f"({key}, '{tier}')" for key, tier in table.items()) or "(9, '')"
    table_source.execute("delete from t", f"insert into t values {rows}")
    lookup = table_source.look_up("select id, tier from t where id in :keys")
    expected = reference(table, keys)
    assert found(lookup, keys) == expected
    assert [found(lookup, [key])[0] for key in keys] == expected
    lookup.close()
