"""Whatever fails, nothing is half delivered, and one line says why, without address and values."""

import logging
import os
import sqlite3
import subprocess
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from contextvars import copy_context
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pyarrow as pa
import pytest
from pydantic import SecretStr

from tasks.common.cancellation import stop_threads_on_error
from tasks.common.errors import (
    DeliveryError,
    MillstreamError,
    ParameterError,
    StoppedError,
    TransientDeliveryError,
)
from tasks.delivery import database
from tasks.delivery.checks import check_target
from tasks.delivery.opening import open_database
from tests.support.deliveries import TARGET, Place, deliver_alone, publish, shard_id, texts
from tests.support.postgres import PASSWORD, USER, Postgres

VALUE = "the-text-of-a-row-that-none-may-quote"
SECRETS = (
    PASSWORD,
    USER,
    VALUE,
    "127.0.0.1",
    "crm.db",
    "sqlite:",
    "postgresql:",
    "INSERT",
    "select",
)
MANY = 200_000


def line_of(error: BaseException) -> str:
    """Return the line of an error; nothing secret is in it, or in its traceback."""
    message = str(error)
    shown = "".join(traceback.format_exception(error))
    assert "\n" not in message
    assert "expected" in message
    assert [secret for secret in SECRETS if secret in message] == []
    assert [secret for secret in (PASSWORD, VALUE) if secret in shown] == []
    assert "During handling" not in shown
    return message


def refusal(
    place: Place, folder: Path, kind: type[MillstreamError], rows: pa.Table | None = None
) -> str:
    record = publish(folder, texts([VALUE]) if rows is None else rows)
    with pytest.raises(MillstreamError) as caught:
        deliver_alone(record, folder, TARGET, place.address)
    assert type(caught.value) is kind
    return line_of(caught.value)


@pytest.fixture(autouse=True)
def _nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever packages log about a failure quotes statements."""
    caplog.set_level(logging.INFO)
    yield
    assert [record.name for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert [secret for secret in (PASSWORD, VALUE) if secret in caplog.text] == []


@contextmanager
def holding(place: Place, statement: str) -> Iterator[None]:
    """Hold what a statement locks."""
    if place.backend == "sqlite":
        with closing(sqlite3.connect(place.url.removeprefix("sqlite:///"))) as file:
            file.execute(statement)
            yield
        return
    with psycopg.connect(place.url) as connection:
        connection.execute(statement.encode())
        yield


def test_locked_table_is_waited_for_and_then_retried(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LOCK_S", 0.2)
    deliver_alone(publish(tmp_path, texts(["a"])), tmp_path, TARGET, place.address)
    locks = {"sqlite": "begin immediate", "postgresql": "lock table predictions"}
    with holding(place, locks[place.backend]):
        said = refusal(place, tmp_path, TransientDeliveryError)
    what = "table" if place.backend == "postgresql" else "database"
    assert said == (
        f"crm.predictions: {shard_id()}: locked by others; expected a {what} that is free within "
        "0.2 s"
    )
    assert place.rows("text") == [("a",)]
    done = deliver_alone(publish(tmp_path, texts([VALUE])), tmp_path, TARGET, place.address)
    assert not done.skipped


def test_lock_that_is_freed_in_time_is_no_error(place: Place, tmp_path: Path) -> None:
    record = publish(tmp_path, texts(["a", "b"]))
    deliver_alone(record, tmp_path, TARGET, place.address)
    locks = {"sqlite": "begin immediate", "postgresql": "lock table predictions"}
    changed = publish(tmp_path, texts(["c"]))
    with holding(place, locks[place.backend]):
        thread = threading.Thread(
            target=deliver_alone, args=(changed, tmp_path, TARGET, place.address)
        )
        thread.start()
        time.sleep(0.3)
        assert thread.is_alive()
    thread.join()
    assert place.rows("text") == [("c",)]


def test_statement_that_takes_too_long_is_ended(
    postgres_place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver_alone(publish(tmp_path, texts(["a"])), tmp_path, TARGET, postgres_place.address)
    monkeypatch.setattr(database, "STATEMENT_S", 0.1)
    said = refusal(postgres_place, tmp_path, TransientDeliveryError, texts([VALUE] * MANY))
    assert said.endswith("timed out or cancelled; expected statements of at most 0.1 s")
    assert postgres_place.counts() == postgres_place.ledger() == {shard_id(): 1}


def test_connection_that_is_dropped_in_the_middle_leaves_nothing(
    postgres_place: Place, postgres: Postgres, tmp_path: Path
) -> None:
    record = publish(tmp_path, texts(["a"]))
    deliver_alone(record, tmp_path, TARGET, postgres_place.address)

    def drop() -> None:
        query = (
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where query ilike 'copy %' and state = 'active' and application_name = 'millstream'"
        )
        with psycopg.connect(postgres_place.url, autocommit=True) as connection:
            while not connection.execute(query).fetchall():
                time.sleep(0.001)

    thread = threading.Thread(target=drop, daemon=True)
    thread.start()
    said = refusal(postgres_place, tmp_path, TransientDeliveryError, texts([VALUE] * MANY))
    thread.join(10)
    assert said.endswith(
        (
            "the server ended the connection; expected a server that stays up",
            "no connection; expected a server that answers",
        )
    )
    assert postgres_place.rows("text") == [("a",)]
    record = publish(tmp_path, texts([VALUE] * MANY))
    assert deliver_alone(record, tmp_path, TARGET, postgres_place.address).rows == MANY
    assert postgres_place.counts() == postgres_place.ledger() == {shard_id(): MANY}


def test_server_that_starts_again_between_two_shards(
    postgres_place: Place, postgres: Postgres, tmp_path: Path
) -> None:
    first, second = (publish(tmp_path, texts([VALUE]), shard_id(n)) for n in (1, 2))
    deliver_alone(first, tmp_path, TARGET, postgres_place.address)
    postgres.stop()
    try:
        with pytest.raises(TransientDeliveryError) as caught:
            deliver_alone(second, tmp_path, TARGET, postgres_place.address)
        assert line_of(caught.value) == (
            f"crm.predictions: {shard_id(2)}: no connection; expected a server that answers"
        )
    finally:
        postgres.start()
    for record in (first, second):
        deliver_alone(record, tmp_path, TARGET, postgres_place.address)
    assert postgres_place.counts() == {shard_id(1): 1, shard_id(2): 1}


def changed(url: str, **parts: str) -> Place:
    return Place("postgresql", urlsplit(url)._replace(**parts).geturl())


@pytest.mark.parametrize(
    ("parts", "kind", "said"),
    [
        ({"netloc": f"{USER}:wrong@127.0.0.1"}, DeliveryError, "access refused"),
        ({"netloc": f"nobody:{PASSWORD}@127.0.0.1"}, DeliveryError, "access refused"),
        ({"path": "/absent"}, DeliveryError, "there is no such database"),
        ({"netloc": f"{USER}:{PASSWORD}@127.0.0.1:1"}, TransientDeliveryError, "no connection"),
        ({"netloc": f"{USER}:{PASSWORD}@no.invalid"}, TransientDeliveryError, "no connection"),
        (
            {"query": "options=-csearch_path%3Dabsent"},
            DeliveryError,
            "the search path has no schema",
        ),
        ({"query": f"{VALUE}=1"}, DeliveryError, "the address has an option that"),
    ],
    ids=str,
)
def test_database_that_cannot_be_used_is_named_before_any_work(
    postgres: Postgres,
    postgres_place: Place,
    parts: dict[str, str],
    kind: type[DeliveryError],
    said: str,
) -> None:
    if "netloc" in parts and ":1" not in parts["netloc"][-2:]:
        parts = {"netloc": f"{parts['netloc']}:{postgres.port}"}
    with pytest.raises(DeliveryError) as caught:
        check_target(TARGET, changed(postgres_place.url, **parts).address)
    assert type(caught.value) is kind
    assert said in line_of(caught.value)


def test_right_that_is_missing_is_named_before_any_work(
    postgres: Postgres, postgres_place: Place, tmp_path: Path
) -> None:
    postgres_place.query(
        "do $$ begin if not exists (select from pg_roles where rolname = 'reader') then "
        f"create role reader login password '{PASSWORD}'; end if; end $$"
    )
    schema = str(postgres_place.query("select current_schema()")[0][0])
    reader = changed(postgres_place.url, netloc=f"reader:{PASSWORD}@127.0.0.1:{postgres.port}")

    def said() -> str:
        with pytest.raises(DeliveryError) as caught:
            check_target(TARGET, reader.address)
        return line_of(caught.value)

    assert "the search path has no schema" in said()
    postgres_place.query(f"grant usage on schema {schema} to reader")
    assert said() == f"crm.predictions: permission denied; expected CREATE in the schema '{schema}'"
    deliver_alone(publish(tmp_path, texts(["a"])), tmp_path, TARGET, postgres_place.address)
    assert said() == "crm.predictions: permission denied; expected DELETE on millstream_deliveries"
    postgres_place.query(f"grant all on all tables in schema {schema} to reader")
    check_target(TARGET, reader.address)
    deliver_alone(publish(tmp_path, texts(["b"])), tmp_path, TARGET, reader.address)
    assert postgres_place.rows("text") == [("b",)]
    postgres_place.query("alter role reader set default_transaction_read_only = on")
    try:
        assert "the database is read-only" in said()
        record = publish(tmp_path, texts([VALUE]))
        with pytest.raises(DeliveryError, match="the database is read-only"):
            deliver_alone(record, tmp_path, TARGET, reader.address)
    finally:
        postgres_place.query("alter role reader reset default_transaction_read_only")


def test_connection_that_the_server_refuses_is_named(postgres: Postgres) -> None:
    owner = Place("postgresql", postgres.new_database())
    owner.query(f"create role guest login password '{PASSWORD}'")
    guest = changed(owner.url, netloc=f"guest:{PASSWORD}@127.0.0.1:{postgres.port}")

    def refused() -> DeliveryError:
        with pytest.raises(DeliveryError) as caught:
            check_target(TARGET, guest.address)
        line_of(caught.value)
        return caught.value

    owner.query("alter role guest connection limit 0")
    assert "the server has no connection left; expected one" in str(refused())
    assert isinstance(refused(), TransientDeliveryError)
    owner.query("alter role guest connection limit -1")
    owner.query(f"revoke connect on database {urlsplit(owner.url).path[1:]} from public")
    assert "permission denied; expected a user that may write" in str(refused())
    owner.query("alter role guest nologin")
    assert "access refused; expected a user that may connect" in str(refused())
    assert not isinstance(refused(), TransientDeliveryError)
    owner.query("drop role guest")


def test_check_makes_nothing(place: Place, tmp_path: Path) -> None:
    check_target(TARGET, place.address)
    if place.backend == "sqlite":
        assert not (tmp_path / "crm.db").exists()
        return
    made = "select count(*) from pg_tables where schemaname = current_schema()"
    assert place.query(made) == [(0,)]


def test_encoding_that_lacks_characters_is_refused_before_any_work(postgres: Postgres) -> None:
    with pytest.raises(DeliveryError) as caught:
        check_target(TARGET, SecretStr(postgres.new_database("LATIN1")))
    assert line_of(caught.value) == (
        "crm.predictions: the encoding of the database is LATIN1; expected UTF8"
    )


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_file_of_rows_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ParameterError) as caught:
        check_target(TARGET, SecretStr(str(tmp_path / name)))
    assert line_of(caught.value) == (
        "MILLSTREAM_SOURCE_CRM: names a file with rows, which crm.predictions cannot go to; "
        "expected a database"
    )


def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "crm.db"
    path.write_text(VALUE * 100)
    with pytest.raises(DeliveryError) as caught:
        check_target(TARGET, SecretStr(f"sqlite:///{path}"))
    assert "the file is no database of SQLite; expected one" in line_of(caught.value)
    with pytest.raises(DeliveryError) as caught:
        check_target(TARGET, SecretStr(f"sqlite:///{tmp_path}/absent/crm.db"))
    assert "the folder of the database is missing" in line_of(caught.value)
    with pytest.raises(DeliveryError) as caught:
        check_target(TARGET, SecretStr(f"sqlite:///{tmp_path}"))
    assert "the file cannot be opened" in line_of(caught.value)


READ_ONLY = """
import sys
from pathlib import Path
from pydantic import SecretStr
from tasks.common.errors import DeliveryError
from tasks.delivery.checks import check_target
from tasks.delivery.opening import open_database
from tests.support.deliveries import TARGET
try:
    check_target(TARGET, SecretStr(sys.argv[1]))
except DeliveryError as error:
    sys.stdout.write(str(error))
"""


def test_file_that_may_not_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    path = tmp_path / "crm.db"
    with closing(sqlite3.connect(path)) as file:
        file.execute("create table t (a)")
    path.chmod(0o444)
    # Root may write it all the same: without the capability, permissions bind it too.
    bound = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    command = [*bound, ".venv/bin/python", "-c", READ_ONLY, f"sqlite:///{path}"]
    said = subprocess.run(command, capture_output=True, text=True)
    assert said.stdout == (
        "crm.predictions: the database is read-only; expected one that may be written"
    ), said.stderr


def test_cancelled_run_delivers_nothing_more(place: Place, tmp_path: Path) -> None:
    deliver_alone(publish(tmp_path, texts(["a"])), tmp_path, TARGET, place.address)
    with suppress(KeyboardInterrupt), stop_threads_on_error():
        of_run = copy_context()
        raise KeyboardInterrupt
    record = publish(tmp_path, texts(["b"]))
    with pytest.raises(StoppedError):
        of_run.run(deliver_alone, record, tmp_path, TARGET, place.address)
    assert place.rows("text") == [("a",)]


def test_failure_that_is_not_of_the_database_is_taken_back(place: Place, tmp_path: Path) -> None:
    deliver_alone(publish(tmp_path, texts(["a"])), tmp_path, TARGET, place.address)

    def rows() -> Iterator[tuple[object, ...]]:
        yield ("b", shard_id(2), 1)
        raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        open_database(TARGET, place.address) as found,
        found.transaction() as connection,
    ):
        found.insert(connection, found.find_schema(connection), ["text", "shard", "row"], rows())
    assert place.rows("text") == [("a",)]
