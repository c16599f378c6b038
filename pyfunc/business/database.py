"""Databases that look-ups read: SQLite and PostgreSQL."""

import re
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, TextClause, bindparam, text
from sqlalchemy.engine import URL

from .connections import open_engine, within
from .spec import KeyType

Rows = Sequence[Sequence[Any]]

KEYS = re.compile(r"(?<![:\w\\]):keys\b")

_IN_KEYS = re.compile(r"(?<!\bnot\s)\bin\s+:keys\b", re.IGNORECASE)

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
        self._engine = open_engine(url, timeout_ms)
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
        # Texts as one parameter would not be compared as the column is.
        as_array = self._engine.dialect.name == "postgresql" and isinstance(keys[0], int)
        return _with_array(query) if as_array else _with_list(query)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        with (
            self._engine.connect() as connection,
            within(connection.connection.driver_connection, self._timeout_ms),
        ):
            yield connection


@lru_cache
def _with_array(query: str) -> TextClause:
    """Return a query whose keys are one parameter, in half the time of a list."""
    return text(_IN_KEYS.sub("= any(:keys)", query))


@lru_cache
def _with_list(query: str) -> TextClause:
    return text(query).bindparams(bindparam("keys", expanding=True))


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
