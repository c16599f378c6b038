"""Databases that look-ups read: SQLite and PostgreSQL, read-only, with pooled connections."""

import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, TextClause, bindparam, create_engine, event, text
from sqlalchemy.engine import URL

from .spec import ColumnType

Rows = Sequence[Sequence[Any]]

KEYS = re.compile(r"(?<![:\w\\]):keys\b")

# A server must answer within it, or is taken as gone: libpq takes no less than 2.
_CONNECT_SECONDS = 2

# More threads than a scoring run has, or a server of MLflow.
_CONNECTIONS = 16

_OPCODES_BETWEEN_CHECKS = 10_000  # of SQLite; a check takes longer than 100 of them

# https://github.com/postgres/postgres/blob/REL_15_STABLE/src/include/catalog/pg_type.dat
_OF_POSTGRES: dict[int, ColumnType] = {
    16: "boolean",
    **dict.fromkeys((20, 21, 23), "integer"),
    **dict.fromkeys((700, 701, 1700), "number"),
    **dict.fromkeys((1114, 1184), "timestamp"),
    1082: "date",
}
# In the order of https://sqlite.org/datatype3.html#determination_of_column_affinity; dates first.
_OF_SQLITE: tuple[tuple[str, ColumnType], ...] = (
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

    def fetch(self, query: str, keys: Sequence[Any]) -> Rows:
        """Return the rows of a query with `:keys`.

        Raises:
            SQLAlchemyError: If it fails or takes too long.
        """
        with self._connection() as connection:
            return connection.execute(_with_keys(query), {"keys": list(keys)}).fetchall()

    def describe(self, query: str) -> list[tuple[str, ColumnType]]:
        """Return the columns of a query; a type that the database does not report is a string.

        Raises:
            SQLAlchemyError: If it fails.
        """
        with self._connection() as connection:
            if self._engine.dialect.name == "sqlite":
                return _describe_in_sqlite(connection, query)
            found = connection.execute(_with_keys(query), {"keys": [None]})
            columns = found.cursor.description if found.cursor else ()
            kinds: list[tuple[str, Any]] = [(name, code) for name, code, *_ in columns]
            return [(name, _OF_POSTGRES.get(code, "string")) for name, code in kinds]

    def close(self) -> None:
        """Close its connections."""
        self._engine.dispose()

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            if self._engine.dialect.name != "sqlite":
                yield connection
                return
            with _deadline(connection, self._timeout_ms):
                yield connection


def _is_server(url: URL) -> bool:
    return url.get_backend_name() == "postgresql"


def _open_postgres(url: URL, timeout_ms: int) -> Engine:
    seconds = max(_CONNECT_SECONDS, timeout_ms // 1_000)
    engine = create_engine(
        url,
        isolation_level="AUTOCOMMIT",  # else each query takes three round trips
        hide_parameters=True,
        max_overflow=_CONNECTIONS,
        connect_args={
            "connect_timeout": seconds,
            "tcp_user_timeout": 1_000 * seconds,
            "application_name": "millstream",
        },
    )

    @event.listens_for(engine, "connect")
    def _restrict(connection: Any, _record: object) -> None:
        connection.autocommit = True
        # Not as start-up options, which connection poolers such as PgBouncer refuse.
        connection.execute("set default_transaction_read_only = on")
        connection.execute(f"set statement_timeout = {timeout_ms:d}")

    return engine


def _open_sqlite(url: URL) -> Engine:
    return open_sqlite(f"file:{quote(str(Path(str(url.database)).expanduser()))}?mode=ro")


def open_sqlite(uri: str, **options: Any) -> Engine:
    """Open a database of SQLite by a URI that may say `mode=ro`.

    Args:
        uri: As https://sqlite.org/uri.html has it.
        **options: For `create_engine`.
    """

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, check_same_thread=False, timeout=0)

    return create_engine("sqlite://", creator=connect, hide_parameters=True, **options)


@contextmanager
def _deadline(connection: Connection, timeout_ms: int) -> Iterator[None]:
    """Interrupt what a connection of SQLite does after a time."""
    raw: Any = connection.connection.driver_connection
    end = time.monotonic() + timeout_ms / 1_000
    raw.execute(f"pragma busy_timeout = {timeout_ms:d}")
    raw.set_progress_handler(lambda: time.monotonic() > end, _OPCODES_BETWEEN_CHECKS)
    try:
        yield
    finally:
        raw.set_progress_handler(None, 0)


def _with_keys(query: str) -> TextClause:
    return text(query).bindparams(bindparam("keys", expanding=True))


def _describe_in_sqlite(connection: Connection, query: str) -> list[tuple[str, ColumnType]]:
    # SQLite reports types of the columns of a view, and none of the columns of a query.
    view = f"create temp view millstream_columns as {KEYS.sub('(null)', query)}"
    connection.exec_driver_sql(view)
    try:
        columns = connection.exec_driver_sql(
            "pragma temp.table_info(millstream_columns)"
        ).fetchall()
    finally:
        connection.exec_driver_sql("drop view temp.millstream_columns")
    return [(str(name), _type_in_sqlite(declared)) for _, name, declared, *_ in columns]


def _type_in_sqlite(declared: str) -> ColumnType:
    words = (declared or "").upper()
    return next((kind for part, kind in _OF_SQLITE if part in words), "string")
