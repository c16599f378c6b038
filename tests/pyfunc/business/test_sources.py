"""Whatever a source does, each row is answered or refused once, in one readable line."""

import gc
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoFreeConnection

from pyfunc.business.database import Database
from pyfunc.business.logic import PendingLookups
from pyfunc.business.lookup import Lookup, open_source
from pyfunc.business.source_errors import describe_source_error
from tests.pyfunc.business.sources import QUERY, SECRETS, Source, found
from tests.support.postgres import PASSWORD, Postgres

NOT_THERE = "customer: no row of this customer_id"
FAILED = "customer: crm: "


def refused(lookup: Lookup, keys: list[Any]) -> str:
    """Return the one reason of all rows, without what tells a look-up of which source failed."""
    answers = found(lookup, keys)
    assert len(answers) == len(keys)
    ((reason, mark),) = set(answers)
    assert mark == "failed"
    assert "\n" not in reason
    assert [secret for secret in SECRETS if secret in reason] == []
    assert reason.startswith(FAILED)
    return str(reason.removeprefix(FAILED))


def statements_of(lookup: Lookup) -> list[str]:
    """Return a list that gets each statement of a look-up as it is sent."""
    database: Any = lookup._open()
    sent: list[str] = []
    event.listen(
        database._engine, "before_cursor_execute", lambda _c, _u, query, *_: sent.append(query)
    )
    return sent


def test_a_window_of_rows_is_one_query_of_its_distinct_keys(source: Source) -> None:
    lookup = source.look_up()
    found(lookup, [1])
    sent = statements_of(lookup)
    assert found(lookup, [1, "2", 1.0, None, "x", 99, 2] * 200) == [
        *[("gold",), ("basic",), ("gold",), (None,), (None,), (None,), ("basic",)] * 200
    ]
    assert len(sent) == 1
    assert sent[0].count("%(") + sent[0].count("?") == (3 if source.backend == "sqlite" else 1)
    found(lookup, [None, "x", ""])  # no key is no query
    assert len(sent) == 1


@pytest.mark.slow
def test_a_hundred_thousand_distinct_keys(source: Source) -> None:
    source.execute("create table t (id integer primary key, twice integer)")
    series = {
        "sqlite": "with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000)"
        " select i, 2 * i from n",
        "postgresql": "select i, 2 * i from generate_series(1, 100000) i",
    }
    source.execute(f"insert into t {series[source.backend]}", "analyze t")
    lookup = source.look_up("select id, twice from t where id in :keys")
    sent = statements_of(lookup)
    started = time.monotonic()
    table = lookup.run(range(1, 100_001))
    assert time.monotonic() - started < 10
    assert table["twice"].to_pylist() == list(range(2, 200_001, 2))
    assert len([one for one in sent if "from t" in one]) == -(-100_000 // 2_048)


def test_columns_are_those_of_the_build(source: Source) -> None:
    query = "select id, tier, credit, vip from customer where id in :keys"
    lookup = source.look_up(query)
    assert dict(lookup.spec.columns) == {"tier": "string", "credit": "number", "vip": "boolean"}
    assert found(lookup, [1, 2, 3, 4]) == [
        ("gold", 2.5, True),
        ("basic", 0.0, False),
        (None, None, None),
        (None, None, None),
    ]


def test_a_missing_row_is_refused_where_that_is_declared(source: Source) -> None:
    lookup = source.look_up(missing="reject")
    assert found(lookup, [1, 99, None]) == [("gold",), NOT_THERE, "customer: no customer_id"]


def test_several_rows_of_a_key_are_a_failure_of_its_own(
    source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    source.execute("create table t (id integer, tier text)")
    source.execute("insert into t values (1, 'a'), (2, 'b'), (1, 'c'), (1, 'd')")
    lookup = source.look_up("select id, tier from t where id in :keys", on_error="reject")
    assert found(lookup, [1, 2, 3]) == [
        ("customer: several rows; expected one", "failed"),
        ("b",),
        (None,),
    ]
    assert found(lookup, [1]) == [("customer: several rows; expected one", "failed")]
    assert [record.getMessage() for record in caplog.records] == [
        "look-up customer failed: several rows; expected one"
    ]


WRITES = {
    "insert": "insert into customer (id) select 9 where 1 in :keys returning id, tier",
    "delete": "delete from customer where id in :keys returning id, tier",
    "hidden": "with gone as (delete from customer where id in :keys returning id, tier) "
    "select id, tier from gone",
    "started with": "with k as (select 1) delete from customer where id in :keys",
}


@pytest.mark.parametrize("how", list(WRITES))
def test_no_query_writes(source: Source, how: str) -> None:
    lookup = source.look_up(on_error="reject")
    spec = type(lookup.spec)(**{f: getattr(lookup.spec, f) for f in lookup.spec.__slots__})
    object.__setattr__(spec, "query", WRITES[how])
    reason = refused(Lookup(spec, lambda _: source.url), [1, 2])
    syntax_error = source.backend == "sqlite" and how == "hidden"
    assert reason == (
        "the query failed (OperationalError SQLITE_ERROR)"
        if syntax_error
        else "the query writes; expected one that reads"
    )
    assert source.execute("select count(*) from customer") == [(3,)]


def test_a_failed_query_is_tried_once_more(source: Source) -> None:
    lookup = source.look_up(on_error="reject")
    sent = statements_of(lookup)
    source.execute("drop table customer")
    named, said = {
        "sqlite": ("OperationalError SQLITE_ERROR", "no such table: customer"),
        "postgresql": ("UndefinedTable 42P01", 'relation "customer" does not exist'),
    }[source.backend]
    assert refused(lookup, [1, 2]) == f"the query failed ({named}): {said}"
    assert len([one for one in sent if "from customer" in one]) == 2
    assert found(source_again(source, lookup), [1, 99]) == [("new",), (None,)]


def source_again(source: Source, lookup: Lookup) -> Lookup:
    source.execute(
        "create table customer (id integer, tier text)", "insert into customer values (1, 'new')"
    )
    return lookup


def test_nulls_take_the_place_of_what_failed_where_that_is_declared(source: Source) -> None:
    lookup = source.look_up(on_error="null", missing="reject")
    source.execute("drop table customer")
    assert found(lookup, [1, 2, None]) == [
        ((None,), "failed"),
        ((None,), "failed"),
        "customer: no customer_id",
    ]


@contextmanager
def locked(source: Source) -> Iterator[None]:
    if source.backend == "sqlite":
        with closing(sqlite3.connect(source.url.removeprefix("sqlite:///"))) as file:
            file.execute("begin exclusive")
            yield
        return
    with psycopg.connect(source.url) as connection:
        connection.execute("lock table customer")
        yield


def test_a_locked_table_is_waited_for_in_time(source: Source) -> None:
    lookup = source.look_up(on_error="reject", timeout_ms=100)
    assert found(lookup, [1]) == [("gold",)]
    with locked(source):
        started = time.monotonic()
        reason = refused(lookup, [1, 2])
        assert 0.2 <= time.monotonic() - started < 1.5  # once, and once more
    what = "locked for" if source.backend == "sqlite" else "timed out after"
    assert reason == f"{what} 100 ms"
    assert found(lookup, [1]) == [("gold",)]


SLOW = {
    "postgresql": "select id, tier from customer, pg_sleep(5) where id in :keys",
    "sqlite": "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000000000)"
    " select id, (select max(i) from n) as tier from customer where id in :keys",
}


def test_a_query_that_takes_too_long_is_ended(source: Source) -> None:
    types: dict[str, Any] = {"key_type": "integer", "columns": {"tier": "string"}}
    quick = source.look_up(on_error="reject", timeout_ms=100)
    spec = type(quick.spec)(
        **{f: getattr(quick.spec, f) for f in quick.spec.__slots__}
        | types
        | {"query": SLOW[source.backend]}
    )
    started = time.monotonic()
    assert refused(Lookup(spec, lambda _: source.url), [1, 2]) == "timed out after 100 ms"
    assert time.monotonic() - started < 2


def backends(source: Source) -> list[int]:
    rows = source.execute(
        "select pid from pg_stat_activity where application_name = 'millstream'"
        " and datname = current_database() and pid <> pg_backend_pid()"
    )
    return [pid for (pid,) in rows]


@pytest.fixture
def alone(postgres: Postgres) -> Source:
    """A database whose connections are those of one test."""
    source = Source("postgresql", postgres.new_database())
    source.execute(
        "create table customer (id integer primary key, tier text)",
        "insert into customer values (1, 'gold'), (2, 'basic')",
    )
    return source


def test_connections_that_are_dropped_between_queries_are_made_again(alone: Source) -> None:
    lookup = alone.look_up(on_error="reject")
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: found(lookup, [1]), range(8)))
    assert backends(alone)
    alone.execute(f"select pg_terminate_backend(unnest(array{backends(alone)}))")
    for _ in range(8):
        assert found(lookup, [1, 2]) == [("gold",), ("basic",)]


def test_a_connection_that_is_dropped_during_a_query_is_made_again(alone: Source) -> None:
    alone.execute(
        "create sequence calls",
        "create function slow(id integer) returns text language plpgsql as $$"
        " begin perform pg_sleep(case when exists (select from pg_stat_activity"
        " where application_name = 'waiting') then 5 else 0 end); return 'late'; end $$",
    )
    lookup = alone.look_up(
        "select id, slow(id) as tier from customer where id in :keys",
        on_error="reject",
        timeout_ms=4_000,
    )
    with psycopg.connect(alone.url, application_name="waiting", autocommit=True) as waiting:

        def drop() -> None:
            query = (
                "select pg_terminate_backend(pid) from pg_stat_activity where state = 'active'"
                " and application_name = 'millstream' and query like '%slow(id)%'"
            )
            while not waiting.execute(query.encode()).fetchall():
                time.sleep(0.005)
            waiting.close()

        thread = threading.Thread(target=drop)
        thread.start()
        assert found(lookup, [1, 2]) == [("late",), ("late",)]
        thread.join()


def test_a_server_that_is_gone_fails_its_rows_until_it_is_back(
    postgres: Postgres, alone: Source
) -> None:
    lookup = alone.look_up(on_error="reject")
    assert found(lookup, [1]) == [("gold",)]
    alone.execute("checkpoint")  # it is killed, and its settings are not for that
    postgres.stop()
    try:
        assert refused(lookup, [1, 2]) == "no connection"
    finally:
        postgres.start()
    assert found(lookup, [1, 2]) == [("gold",), ("basic",)]
    postgres.stop()
    postgres.start()
    assert found(lookup, [1, 2]) == [("gold",), ("basic",)]  # at the second try


@contextmanager
def stopped(*processes: int) -> Iterator[None]:
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def test_server_processes_that_hang_are_left_for_others(alone: Source) -> None:
    lookup = alone.look_up(on_error="reject", timeout_ms=100)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: found(lookup, [1]), range(8)))
    with stopped(*backends(alone)):
        started = time.monotonic()
        assert found(lookup, [1, 2]) == [("gold",), ("basic",)]
        assert time.monotonic() - started < 2
    assert found(lookup, [1]) == [("gold",)]


@pytest.mark.slow
def test_a_server_that_hangs_as_a_whole_fails_its_rows_in_time(
    postgres: Postgres, alone: Source
) -> None:
    lookup = alone.look_up(on_error="reject", timeout_ms=100)
    assert found(lookup, [1]) == [("gold",)]
    postmaster = int((postgres.folder / "data" / "postmaster.pid").read_text().split()[0])
    with stopped(postmaster, *backends(alone)):
        started = time.monotonic()
        assert refused(lookup, [1, 2]) in ("no connection", "no answer within 100 ms")
        assert time.monotonic() - started < 6
    assert found(lookup, [1]) == [("gold",)]


@pytest.mark.parametrize("change", ["drop column tier", "rename column tier to rank"])
def test_a_column_that_is_gone_is_named(source: Source, change: str) -> None:
    lookup = source.look_up(on_error="reject")
    assert found(lookup, [1]) == [("gold",)]
    source.execute(f"alter table customer {change}")
    named, said = {
        "sqlite": ("OperationalError SQLITE_ERROR", "no such column: tier"),
        "postgresql": ("UndefinedColumn 42703", 'column "tier" does not exist'),
    }[source.backend]
    assert refused(lookup, [1, 2]) == f"the query failed ({named}): {said}"


@pytest.mark.parametrize("change", ["drop column tier", "add column more integer"])
def test_columns_of_a_star_are_never_taken_for_others(source: Source, change: str) -> None:
    lookup = source.look_up("select * from customer where id in :keys", on_error="reject")
    assert found(lookup, [2]) == [("basic", 0.0, False)]
    source.execute(f"alter table customer {change}")
    assert refused(lookup, [1, 2]) == "the query has other columns than at the build"


def test_a_type_that_changes_fails_rows_alone(source: Source) -> None:
    source.execute("create table t (id integer, size integer)", "insert into t values (1, 1)")
    lookup = source.look_up("select id, size from t where id in :keys", on_error="reject")
    for _ in range(12):  # psycopg prepares a query after its fifth time
        assert found(lookup, [1]) == [(1,)]
    if source.backend == "sqlite":  # which has no such statement
        source.execute("drop table t", "create table t (id integer, size text)")
        source.execute("insert into t values (1, '1')")
    else:
        source.execute("alter table t alter column size type text")
    source.execute("insert into t values (2, 'large')")
    assert found(lookup, [1, 2]) == [(1,), ("customer: a str is no integer", "failed")]
    assert found(lookup, [1]) == [(1,)]


def test_a_key_of_another_type_is_no_error_of_the_call(alone: Source) -> None:
    lookup = alone.look_up(on_error="reject")
    alone.execute("alter table customer alter column id type text")
    assert refused(lookup, [1, 2]) == "the query failed (UndefinedFunction 42883)"


VALUES: dict[str, list[tuple[str, str, str]]] = {
    "sqlite": [
        ("timestamp", "1700000000", "a int is no timestamp"),
        ("integer", "'large'", "a str is no integer"),
        ("text", "cast(x'ff' as text)", "a str is no string"),
        ("text", "x'ff'", "a bytes is no string"),
    ],
    "postgresql": [
        ("date", "'infinity'", "crm: the query failed (DataError)"),
        ("timestamp", "'4000-01-01 BC'", "crm: the query failed (DataError)"),
        ("bytea", "'x'", "a bytes is no string"),
        ("date", "'-infinity'", "crm: the query failed (DataError)"),
    ],
}


@pytest.mark.parametrize("number", range(4))
def test_a_value_that_none_can_read_fails_its_row_alone(source: Source, number: int) -> None:
    kind, value, reason = VALUES[source.backend][number]
    source.execute(f"create table t (id integer, hit {kind})")
    source.execute(f"insert into t values (1, null), (2, {value}), (3, null)")
    lookup = source.look_up("select id, hit from t where id in :keys", on_error="reject")
    first, bad, last = found(lookup, [1, 2, 3])
    assert first == last == (None,)
    assert bad == (f"customer: {reason}", "failed")


WRITTEN = [
    ("uuid", "'3F2B8C1E-0D4A-4F6B-9A7C-5E8D1B2C3D4F'", "3f2b8c1e-0d4a-4f6b-9a7c-5e8d1b2c3d4f"),
    ("jsonb", """'{"a": [1, "é"]}'""", '{"a": [1, "é"]}'),
    ("json", "'[12345678901234567890.10 ]'", "[12345678901234567890.10 ]"),
    ("jsonb", "(repeat('[', 3000) || repeat(']', 3000))::jsonb", "[" * 3_000 + "]" * 3_000),
    ("integer[]", "'{1,2}'", "[1, 2]"),
    ("interval", "'90 minutes'", "1:30:00"),
    ("inet", "'10.0.0.1'", "10.0.0.1"),
    ("time", "'10:30'", "10:30:00"),
    ("numeric", "'NaN'", None),
    ("numeric", "12345.678", 12345.678),
    ("boolean", "true", True),
]


@pytest.mark.parametrize(
    ("kind", "value", "expected"), WRITTEN, ids=[f"{n}-{one[0]}" for n, one in enumerate(WRITTEN)]
)
def test_values_of_postgres_have_a_type_of_few(
    postgres_source: Source, kind: str, value: str, expected: object
) -> None:
    postgres_source.execute(f"create table t (id integer, hit {kind})")
    postgres_source.execute(f"insert into t values (1, {value})")
    assert found(postgres_source.look_up("select id, hit from t where id in :keys"), [1]) == [
        (expected,)
    ]


@pytest.mark.parametrize("busy_threads", [0, 1, 2])
def test_all_look_ups_run_at_the_same_time(postgres_source: Source, busy_threads: int) -> None:
    slow = "select id, tier from customer, pg_sleep(0.3) where id in :keys"
    first, second = postgres_source.look_up(), postgres_source.look_up()
    for lookup in (first, second):
        found(lookup, [1])
        object.__setattr__(lookup.spec, "query", slow)
    both, ended = {"a": first, "b": second}, threading.Event()
    with ThreadPoolExecutor(2) as threads:
        for _ in range(busy_threads):
            threads.submit(ended.wait)
        started = time.monotonic()
        tables = PendingLookups(threads, both, {"customer_id": [1, 2]}).join()
        seconds = time.monotonic() - started
        ended.set()
    assert list(tables) == list(both)
    assert seconds < (0.5 if busy_threads < 2 else 1)  # the caller's is one more
    assert [table["tier"].to_pylist() for table in tables.values()] == [["gold", "basic"]] * 2


def test_many_threads_share_a_look_up(source: Source) -> None:
    lookup = source.look_up()
    keys: list[Any] = [1, 2, 3, 99, None] * 20
    expected = found(lookup, keys)

    def ask(_: int) -> bool:
        pending = PendingLookups(few, {"a": lookup}, {"customer_id": keys})
        return bool(pending.join()["a"]["tier"].to_pylist() == [row[0] for row in expected])

    with ThreadPoolExecutor(4) as few, ThreadPoolExecutor(24) as callers:
        assert all(callers.map(ask, range(240)))


def test_connections_are_kept(alone: Source) -> None:
    lookup = alone.look_up()
    found(lookup, [1])
    (first,) = backends(alone)
    for _ in range(5):
        found(lookup, [1])
    assert backends(alone) == [first]
    lookup.close()
    assert backends(alone) == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (f"postgresql://none:{PASSWORD}@127.0.0.1:1/none", "no connection"),
        ("sqlite:////nowhere/crm.db", "no connection"),
        ("/nowhere/customer.csv", "the file cannot be read (FileNotFoundError)"),
        (
            f"mysql://root:{PASSWORD}@127.0.0.1/none",
            "MILLSTREAM_SOURCE_CRM: the scheme is not supported; expected an address such as ",
        ),
        (
            f"postgresql://root:{PASSWORD}@127.0.0.1:port/none",
            "MILLSTREAM_SOURCE_CRM: not an address; expected an address such as ",
        ),
        ("", "MILLSTREAM_SOURCE_CRM: not set; expected an address such as "),
    ],
)
def test_an_address_of_nothing_is_not_quoted(sqlite_source: Source, url: str, reason: str) -> None:
    spec = sqlite_source.look_up(on_error="reject").spec
    ((found_reason, _),) = set(found(Lookup(spec, lambda _: url), [1, 2]))
    assert found_reason.startswith(f"customer: crm: {reason}")
    assert [secret for secret in (PASSWORD, "127.0.0.1", "nowhere") if secret in found_reason] == []


def test_a_wrong_password_is_no_connection(postgres: Postgres, alone: Source) -> None:
    spec = alone.look_up(on_error="reject").spec
    url = alone.url.replace(PASSWORD, f"{PASSWORD}-wrong")
    assert refused(Lookup(spec, lambda _: url), [1]) == "no connection"


def test_a_table_that_may_not_be_read(postgres: Postgres, alone: Source) -> None:
    alone.execute(f"create role stranger login password '{PASSWORD}'")
    spec = alone.look_up(on_error="reject").spec
    url = alone.url.replace("stream_owner", "stranger")
    reason = refused(Lookup(spec, lambda _: url), [1])
    assert reason == "access refused (InsufficientPrivilege)"


def test_a_database_that_is_forgotten_closes_its_connections(alone: Source) -> None:
    database = open_source("crm", alone.url, 1_000)
    assert isinstance(database, Database)
    database.fetch(QUERY, [1])
    assert len(backends(alone)) == 1
    del database
    gc.collect()  # for what pytest keeps of an assertion
    assert backends(alone) == []


def test_a_file_of_sqlite_that_comes_later(tmp_path: Path, sqlite_source: Source) -> None:
    spec = sqlite_source.look_up(on_error="reject").spec
    path = tmp_path / "later.db"
    lookup = Lookup(spec, lambda _: f"sqlite:///{path}")
    assert refused(lookup, [1]) == "no connection"
    path.write_bytes((tmp_path / "crm.db").read_bytes())
    assert found(lookup, [1]) == [("gold",)]


def test_a_file_of_sqlite_that_takes_the_place_of_another_is_read(tmp_path: Path) -> None:
    path, export = tmp_path / "crm.db", tmp_path / "export.db"

    def write(tier: str) -> None:
        with closing(sqlite3.connect(export)) as connection, connection:
            connection.execute("create table customer (id integer, tier text)")
            connection.execute("insert into customer values (1, ?)", (tier,))
        export.replace(path)

    write("basic")
    database = open_source("crm", f"sqlite:///{path}", 1_000)
    query = "select id, tier from customer where id in :keys"
    assert database.fetch(query, [1])[1] == [(1, "basic")]
    write("gold")
    assert database.fetch(query, [1])[1] == [(1, "gold")]
    path.unlink()
    with pytest.raises(OperationalError):
        database.fetch(query, [1])
    write("silver")
    assert database.fetch(query, [1])[1] == [(1, "silver")]


def test_more_calls_than_connections_are_said() -> None:
    error = NoFreeConnection("QueuePool limit of size 5 overflow 16 reached")
    assert describe_source_error(error, 100) == "no free connection"
