"""Databases that look-ups read: SQLite and PostgreSQL, read-only, with pooled connections."""

import logging
import os
import re
import socket
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    Connection,
    Engine,
    QueuePool,
    TextClause,
    bindparam,
    create_engine,
    event,
    text,
)
from sqlalchemy.engine import URL

from ..errors import SourceError
from .spec import KeyType

Rows = Sequence[Sequence[Any]]

KEYS = re.compile(r"(?<![:\w\\]):keys\b")
_IN_KEYS = re.compile(r"(?<!\bnot\s)\bin\s+:keys\b", re.IGNORECASE)

# A server must answer within it, or is taken as gone: libpq takes no less than 2.
_CONNECT_SECONDS = 2

# A server ends a query that takes too long; one that hangs does not, and is left after this.
_GRACE_SECONDS = 1.0

# More threads than a scoring run has, or a server of MLflow.
_CONNECTIONS = 16

_OPCODES_BETWEEN_CHECKS = 10_000  # of SQLite; a check takes longer than 100 of them

_NAME = "millstream"

# https://github.com/postgres/postgres/blob/REL_15_STABLE/src/include/catalog/pg_type.dat
_OF_POSTGRES: dict[int, KeyType] = {
    16: "boolean",
    **dict.fromkeys((20, 21, 23), "integer"),
    **dict.fromkeys((700, 701, 1700), "number"),
    **dict.fromkeys((1114, 1184), "timestamp"),
    1082: "date",
    2950: "uuid",
}
# In the order of https://sqlite.org/datatype3.html#determination_of_column_affinity; dates first.
_OF_SQLITE: tuple[tuple[str, KeyType], ...] = (
    ("TIMESTAMP", "timestamp"),
    ("DATETIME", "timestamp"),
    ("DATE", "date"),
    ("BOOL", "boolean"),
    ("INT", "integer"),
    ("CHAR", "string"),
    ("CLOB", "string"),
    ("TEXT", "string"),
    ("REAL", "number"),
    ("FLOA", "number"),
    ("DOUB", "number"),
    ("NUM", "number"),
    ("DEC", "number"),
)


class Database:
    """A database, read by one query at a time in each connection.

    Args:
        url: Its address.
        timeout_ms: Of a query; also how long it waits for a lock.
    """

    def __init__(self, url: URL, timeout_ms: int) -> None:
        self._timeout_ms = timeout_ms
        self._engine = _open_postgres(url, timeout_ms) if _is_server(url) else _open_sqlite(url)
        weakref.finalize(self, self._engine.dispose)

    def fetch(self, query: str, keys: Sequence[Any]) -> tuple[list[str], Rows]:
        """Return the names of the columns of a query with `:keys`, and its rows.

        Raises:
            SQLAlchemyError: If it fails or takes too long.
            SourceError: If the server hangs.
        """
        with self._connection() as connection:
            found = connection.execute(self._with_keys(query, keys), {"keys": list(keys)})
            return list(found.keys()), found.fetchall()

    def describe(self, query: str) -> list[tuple[str, KeyType]]:
        """Return the columns of a query; a type that the database does not report is a string.

        Raises:
            SQLAlchemyError: If it fails.
            SourceError: If the server hangs.
        """
        with self._connection() as connection:
            if self._engine.dialect.name == "sqlite":
                return _describe_in_sqlite(connection, query)
            found = connection.execute(self._with_keys(query, [None]), {"keys": [None]})
            columns = found.cursor.description if found.cursor else ()
            kinds: list[tuple[str, Any]] = [(name, code) for name, code, *_ in columns]
            return [(name, _OF_POSTGRES.get(code, "string")) for name, code in kinds]

    def close(self) -> None:
        """Close its connections."""
        self._engine.dispose()

    def _with_keys(self, query: str, keys: Sequence[Any]) -> TextClause:
        if self._engine.dialect.name == "postgresql" and isinstance(keys[0], int):
            # One parameter, in half the time; texts would not be compared as the column is.
            return text(_IN_KEYS.sub("= any(:keys)", query))
        return text(query).bindparams(bindparam("keys", expanding=True))

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            limited = _deadline if self._engine.dialect.name == "sqlite" else _hang_up
            raw = connection.connection.driver_connection
            with limited(raw, self._timeout_ms):
                yield connection


def _is_server(url: URL) -> bool:
    return url.get_backend_name() == "postgresql"


def _open_postgres(url: URL, timeout_ms: int) -> Engine:
    seconds = max(_CONNECT_SECONDS, timeout_ms // 1_000)
    engine = _create_engine(
        url,
        isolation_level="AUTOCOMMIT",  # else each query takes three round trips
        max_overflow=_CONNECTIONS,
        pool_timeout=seconds,
        connect_args={
            "connect_timeout": seconds,
            "tcp_user_timeout": 1_000 * seconds,
            "application_name": _NAME,
            "client_encoding": "utf8",  # in another, psycopg cannot write every key
            # A prepared query fails for good after a change of a column's type.
            "prepare_threshold": None,
        },
    )

    @event.listens_for(engine, "connect")
    def _restrict(connection: Any, _record: object) -> None:
        connection.autocommit = True
        with _hang_up(connection, timeout_ms):
            # Not as start-up options, which connection poolers such as PgBouncer refuse.
            connection.execute(
                "set default_transaction_read_only = on; set timezone = 'UTC'; "
                f"set statement_timeout = {timeout_ms:d}"
            )

    return engine


def _open_sqlite(url: URL) -> Engine:
    uri = f"file:{quote(str(Path(str(url.database)).expanduser()))}?mode=ro"
    # SQLAlchemy's own choice for it closes connections that threads use.
    return open_sqlite(uri, poolclass=QueuePool, max_overflow=_CONNECTIONS, pool_timeout=1)


def open_sqlite(uri: str, **options: Any) -> Engine:
    """Open a database of SQLite by a URI that may say `mode=ro`.

    Args:
        uri: As https://sqlite.org/uri.html has it.
        **options: For `create_engine`.
    """

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(uri, uri=True, check_same_thread=False, timeout=0)
        # What is no UTF-8 makes its own row fail, and not the query.
        connection.text_factory = lambda value: value.decode("utf-8", "surrogateescape")
        return connection

    return _create_engine("sqlite://", creator=connect, **options)


def _create_engine(address: URL | str, **options: Any) -> Engine:
    """Create an engine of which nothing is logged: SQLAlchemy logs statements, keys and rows."""
    for logger in ("sqlalchemy.engine.Engine", "sqlalchemy.pool.impl.QueuePool"):
        logging.getLogger(f"{logger}.{_NAME}").addFilter(_drop)
    logging.getLogger("psycopg").addFilter(_drop_details)  # they name host and user
    return create_engine(
        address, hide_parameters=True, logging_name=_NAME, pool_logging_name=_NAME, **options
    )


def _drop(_record: logging.LogRecord) -> bool:
    return False


def _drop_details(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


@contextmanager
def _deadline(raw: Any, timeout_ms: int) -> Iterator[None]:
    """Interrupt what a connection of SQLite does after a time; it writes nothing meanwhile."""
    end = time.monotonic() + timeout_ms / 1_000
    raw.execute(f"pragma busy_timeout = {timeout_ms:d}")
    raw.execute("pragma query_only = on")
    raw.set_progress_handler(lambda: time.monotonic() > end, _OPCODES_BETWEEN_CHECKS)
    try:
        yield
    finally:
        raw.set_progress_handler(None, 0)


@contextmanager
def _hang_up(raw: Any, timeout_ms: int) -> Iterator[None]:
    """Shut a connection of PostgreSQL down if its server does not keep to the timeout.

    Raises:
        SourceError: In place of what the connection raises then.
    """
    wire = socket.socket(fileno=os.dup(raw.fileno()))
    gone = threading.Event()

    def shut() -> None:
        gone.set()
        with suppress(OSError):  # closed meanwhile
            wire.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(timeout_ms / 1_000 + _GRACE_SECONDS, shut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception:
        if gone.is_set():
            raise SourceError(f"no answer within {timeout_ms} ms") from None
        raise
    finally:
        timer.cancel()
        wire.close()


def _describe_in_sqlite(connection: Connection, query: str) -> list[tuple[str, KeyType]]:
    # SQLite reports types of the columns of a view, and none of the columns of a query.
    connection.exec_driver_sql("pragma query_only = off")
    view = f"create temp view millstream_columns as {KEYS.sub('(null)', query)}"
    connection.exec_driver_sql(view)
    try:
        columns = connection.exec_driver_sql(
            "pragma temp.table_info(millstream_columns)"
        ).fetchall()
    finally:
        connection.exec_driver_sql("drop view temp.millstream_columns")
    return [(str(name), _type_in_sqlite(declared)) for _, name, declared, *_ in columns]


def _type_in_sqlite(declared: str) -> KeyType:
    words = (declared or "").upper()
    return next((kind for part, kind in _OF_SQLITE if part in words), "string")
