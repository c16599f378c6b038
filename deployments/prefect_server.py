"""Prefect's command line, for a server whose many writers share one SQLite; `make up` starts it.

What else its server needs are settings of Prefect, which `deployments.services` gives it.
"""

import sqlite3
from collections.abc import Iterable
from typing import Any, Self

from prefect.cli import app
from prefect.server.database.configurations import SQLITE_BEGIN_MODE
from sqlalchemy import Engine, event


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


def share_sqlite(engine: Engine | type[Engine]) -> None:
    """Have connections to SQLite wait for each other, not fail or hold up the whole server.

    Args:
        engine: Makes the connections from then on; the class stands for all engines.
    """
    event.listen(engine, "do_connect", _connect_with_our_cursors)
    event.listen(engine, "before_cursor_execute", _wait_for_other_writers, retval=True)


def _connect_with_our_cursors(
    _dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]
) -> None:
    parameters["factory"] = _Connection


def _wait_for_other_writers(
    _connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any
) -> tuple[str, Any]:
    """Return the statement, with the lock for writing where Prefect's transactions begin.

    It takes it there in some of them. The others read first, and are refused at once when they
    write after anybody else did meanwhile, which the API answers with 503:
    https://www.sqlite.org/rescode.html#busy_snapshot
    """
    if not statement.startswith("BEGIN "):
        return statement, parameters
    # Sessions that only read, opened within this transaction, would begin with the same lock.
    SQLITE_BEGIN_MODE.set(None)
    return "BEGIN IMMEDIATE", parameters


if __name__ == "__main__":
    share_sqlite(Engine)
    app()
