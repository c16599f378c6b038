"""Prefect's command line, for a server whose many writers share one SQLite; `make up` starts it.

The settings of Prefect that its server needs besides are in `deployments.services.definitions`.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, Self
from weakref import WeakKeyDictionary

from prefect.cli import app
from prefect.server.database.configurations import SQLITE_BEGIN_MODE, AioSqliteConfiguration
from prefect.server.database.dependencies import temporary_database_config
from prefect.server.utilities.database import get_dialect
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL
from sqlalchemy import Dialect, Engine, event
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

_in_transaction: ContextVar[bool] = ContextVar("in_transaction", default=False)


class QueuedWriters(AioSqliteConfiguration):
    """Prefect's SQLite, to which one transaction at a time writes; the others wait in their order.

    Prefect has most of them read first. Such a one is refused at once, with 503, when it writes
    after anybody else did meanwhile: https://www.sqlite.org/rescode.html#busy_snapshot. And who
    waits in SQLite instead of here keeps a connection, of which there are fifteen.
    """

    def __init__(self, connection_url: str) -> None:
        super().__init__(connection_url)
        self._queues: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
            WeakKeyDictionary()
        )

    @asynccontextmanager
    async def begin_transaction(
        self, session: AsyncSession, with_for_update: bool = False
    ) -> AsyncGenerator[AsyncSessionTransaction, None]:
        """Begin when nobody else writes; a transaction within another begins as Prefect's do."""
        if _in_transaction.get():
            async with super().begin_transaction(session, with_for_update) as transaction:
                yield transaction
            return
        loop = asyncio.get_running_loop()
        async with self._queues.setdefault(loop, asyncio.Lock()):
            outside = _in_transaction.set(True)
            try:
                async with super().begin_transaction(session, with_for_update=True) as transaction:
                    await session.connection()
                    # Else a session that only reads, within this block, would wait for this one.
                    SQLITE_BEGIN_MODE.set(None)
                    yield transaction
            finally:
                _in_transaction.reset(outside)


class _Cursor(sqlite3.Cursor):
    """Lets go of a statement that failed, in the thread that executed it.

    Python 3.11 does so when the cursor is deleted, and SQLAlchemy leaves that to the garbage
    collector, in whose thread it waits for the connection's mutex. If the thread is that of the
    server's event loop, and the connection waits to write for another that waits for the loop,
    the server answers nobody for the minute until SQLite gives up:
    https://github.com/python/cpython/blob/v3.11.7/Modules/_sqlite/cursor.c#L169
    https://github.com/sqlalchemy/sqlalchemy/blob/rel_2_0_58/lib/sqlalchemy/dialects/sqlite/aiosqlite.py
    """

    def execute(self, sql: str, parameters: Any = (), /) -> Self:
        try:
            return super().execute(sql, parameters)
        except Exception:
            self.close()
            raise

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Self:
        try:
            return super().executemany(sql, parameters)
        except Exception:
            self.close()
            raise


class _Connection(sqlite3.Connection):
    def cursor(self, factory: Any = _Cursor) -> Any:
        return super().cursor(factory)


def close_cursors_that_fail(engine: Engine | type[Engine]) -> None:
    """Have connections to SQLite, from then on, close a cursor whose statement failed.

    Args:
        engine: Makes the connections; the class stands for all engines.
    """
    event.listen(engine, "do_connect", _connect_with_our_cursors)


def _connect_with_our_cursors(
    dialect: Dialect, _record: Any, _arguments: Any, parameters: dict[str, Any]
) -> None:
    if dialect.name == "sqlite":
        parameters["factory"] = _Connection


def main() -> None:
    """Run Prefect's command line; a database other than SQLite is used as Prefect does."""
    url = PREFECT_API_DATABASE_CONNECTION_URL.value()
    on_sqlite = get_dialect(url).name == "sqlite"
    close_cursors_that_fail(Engine)
    with temporary_database_config(QueuedWriters(url) if on_sqlite else None):
        app()


if __name__ == "__main__":
    main()
