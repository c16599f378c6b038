"""SQLite as the database of a delivery: one writer at a time."""

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool
from sqlalchemy.types import TypeEngine

from tasks.delivery import database
from tasks.delivery.columns import Kind
from tasks.delivery.database import Database, ExistingColumn, SqlType, sql_type
from tasks.delivery.types import DeliveryTarget

_TEXTS = ("VARCHAR", "CHARACTER VARYING", "CHAR", "NVARCHAR", "CLOB", "JSON")


def _type(made: TypeEngine[Any], name: str, *others: str) -> SqlType:
    """Return a type; a column that is declared without one holds any value."""
    return sql_type(made, name, "", *others)


# Names that `pyfunc.business.database` reads as the types of a look-up.
_TYPES: dict[Kind, SqlType] = {
    "text": _type(sa.Text(), "TEXT", *_TEXTS),
    "nothing": _type(sa.Text(), "TEXT"),
    "integer": _type(sa.BigInteger(), "BIGINT", "INTEGER", "INT"),
    # More than its integers hold.
    "unsigned": _type(sa.Text(), "TEXT", *_TEXTS),
    "number": _type(sa.REAL(), "REAL", "DOUBLE", "DOUBLE PRECISION", "FLOAT"),
    "boolean": _type(sa.Boolean(), "BOOLEAN", "BOOL", "INTEGER"),
    "zoned": _type(sa.TIMESTAMP(), "TIMESTAMP", "DATETIME", "TEXT"),
    "timestamp": _type(sa.TIMESTAMP(), "TIMESTAMP", "DATETIME", "TEXT"),
    "date": _type(sa.Date(), "DATE", "TEXT"),
    "time": _type(sa.Time(), "TIME", "TEXT"),
    "duration": _type(sa.REAL(), "REAL", "DOUBLE", "DOUBLE PRECISION", "FLOAT"),
    "decimal": _type(sa.Numeric(), "NUMERIC", "DECIMAL", "TEXT"),
    # More digits than its numbers hold.
    "long decimal": _type(sa.Text(), "TEXT", *_TEXTS),
    "binary": _type(sa.BLOB(), "BLOB"),
    "json": _type(sa.Text(), "TEXT", *_TEXTS),
}

_KIND = text("select type from sqlite_master where name = :table collate nocase")
_COLUMNS = text("""
    select name, upper(type), "notnull" and dflt_value is null
        and not (pk and upper(type) = 'INTEGER'), hidden
    from pragma_table_xinfo(:table)
""")

# SQLite lets writers of one process wait without an order, so that one may starve.
_WRITERS: dict[str, threading.Lock] = {}
_WRITERS_LOCK = threading.Lock()


class SqliteDatabase(Database):
    """A database of SQLite, which is made if its folder is there."""

    dialect = "sqlite"
    types = _TYPES
    most_columns = 2_000

    def __init__(self, url: URL, target: DeliveryTarget, place: str) -> None:
        self._path = Path(str(url.database)).expanduser().resolve()

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(
                f"file:{quote(str(self._path))}",
                uri=True,
                timeout=database.LOCK_S,
                isolation_level=None,
                check_same_thread=False,
            )

        engine = sa.create_engine(
            "sqlite://", creator=connect, hide_parameters=True, poolclass=NullPool
        )

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            # A transaction that reads first fails where it would have to wait to write.
            connection.exec_driver_sql("begin immediate")

        super().__init__(engine, target, place)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Run a transaction when no other thread does."""
        with _WRITERS_LOCK:
            writer = _WRITERS.setdefault(str(self._path), threading.Lock())
        with writer, super().transaction() as connection:
            yield connection

    def find_schema(self, connection: Connection) -> str | None:
        """Return None: SQLite has no schemas."""
        return None

    def find_columns(
        self, connection: Connection, schema: str | None, table: str
    ) -> dict[str, ExistingColumn]:
        """Return the columns of a table from its pragma."""
        kind = connection.execute(_KIND, {"table": table}).scalar()
        if kind not in (None, "table"):
            raise self.refuse(f"{table} is no table; expected one, or a free name")
        found = connection.execute(_COLUMNS, {"table": table}).all()
        return {
            self.folded(name): ExistingColumn(
                f"{declared}, generated" if hidden else declared.partition("(")[0].strip(),
                bool(required),
            )
            for name, declared, required, hidden in found
        }

    def check_writable(self, connection: Connection, schema: str | None) -> None:
        """Nothing more than the beginning of a transaction, which takes the lock to write."""

    def check_file(self) -> bool:
        """Check, without making it, that the file may be written; return whether it exists.

        Raises:
            DeliveryError: If it may not.
        """
        if not self._path.parent.is_dir():
            raise self.refuse("the folder of the database is missing; expected one")
        is_there = self._path.exists()
        # The journal of a transaction is a file beside it.
        places = [self._path.parent, *([self._path] if is_there else [])]
        if not all(os.access(place, os.W_OK) for place in places):
            raise self.refuse("the database is read-only; expected one that may be written")
        return is_there

    def unfit_name(self, names: Sequence[str]) -> str:
        """Return which names differ in case alone, which SQLite ignores."""
        seen: dict[str, str] = {}
        for name in names:
            other = seen.setdefault(self.folded(name), name)
            if other != name:
                return (
                    f"the columns {other!r} and {name!r} differ in case alone; expected names that "
                    "SQLite tells apart"
                )
        return ""

    def lock(self, connection: Connection, name: str) -> None:
        """Nothing: a transaction has the whole database."""

    def insert(
        self,
        connection: Connection,
        schema: str | None,
        names: Sequence[str],
        rows: Iterable[tuple[object, ...]],
    ) -> None:
        """Insert row after row with one statement."""
        quoted = connection.dialect.identifier_preparer.quote_identifier
        listed = ", ".join(map(quoted, names))
        places = ", ".join("?" * len(names))
        table = quoted(self.target.table)
        driver: Any = connection.connection.driver_connection
        driver.executemany(f"insert into {table} ({listed}) values ({places})", rows)  # noqa: S608 -- quoted

    def folded(self, name: str) -> str:
        """Return a name with ASCII letters in lower case, as SQLite compares it."""
        return name.encode().lower().decode()
