"""SQLite as Prefect's server needs it: write transactions in a queue, no deadlock of cursors."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Self
from weakref import WeakKeyDictionary

from prefect.server.database.configurations import SQLITE_BEGIN_MODE, AioSqliteConfiguration
from sqlalchemy import Dialect, Engine, event
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction


class QueuedWriters(AioSqliteConfiguration):
    """Prefect's SQLite with a queue of write transactions: one at a time, first in, first out.

    Most of Prefect's transactions read first. Such a one fails at once, with 503, if it writes
    after another transaction did: https://www.sqlite.org/rescode.html#busy_snapshot. And a wait
    inside SQLite occupies one of fifteen connections.
    """

    def __init__(self, connection_url: str) -> None:
        super().__init__(connection_url)
        self._queues: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
            WeakKeyDictionary()
        )
        # Not a context variable: a task inherits it from the one that creates it, and may run on.
        self._writers: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[Any] | None] = (
            WeakKeyDictionary()
        )

    @asynccontextmanager
    async def begin_transaction(
        self, session: AsyncSession, with_for_update: bool = False
    ) -> AsyncGenerator[AsyncSessionTransaction, None]:
        """Begin after the other writers; one within another of the same task begins at once."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        if task is not None and self._writers.get(loop) is task:
            async with super().begin_transaction(session, with_for_update) as transaction:
                yield transaction
            return
        async with self._queues.setdefault(loop, asyncio.Lock()):
            self._writers[loop] = task
            try:
                async with super().begin_transaction(session, with_for_update=True) as transaction:
                    await session.connection()
                    # Or a session that only reads, within this block, would wait for this one.
                    SQLITE_BEGIN_MODE.set(None)
                    yield transaction
            finally:
                self._writers[loop] = None


class _Cursor(sqlite3.Cursor):
    """Closes itself after a failed statement, in the thread that executed it.

    Python 3.11 resets the statement when the cursor is deleted, which SQLAlchemy leaves to the
    garbage collector, where it waits for the connection's mutex. In the thread of the server's
    event loop this can be a deadlock, with a connection that waits to write for another one that
    waits for the loop, until SQLite times out after a minute:
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


def close_failed_cursors(engine: Engine | type[Engine]) -> None:
    """Let new connections to SQLite close a cursor whose statement failed.

    Args:
        engine: Creates the connections; the class stands for all engines.
    """
    event.listen(engine, "do_connect", _use_closing_cursors)


def _use_closing_cursors(
    dialect: Dialect, _record: Any, _arguments: Any, parameters: dict[str, Any]
) -> None:
    if dialect.name == "sqlite":
        parameters["factory"] = _Connection
