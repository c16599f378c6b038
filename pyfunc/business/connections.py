"""Connections to databases: pooled, read-only, quiet, and none that waits too long."""

import logging
import math
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Engine, QueuePool, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DisconnectionError

from ..errors import SourceError

# A server must answer within it, or is taken as gone: libpq takes no less than 2.
_CONNECT_SECONDS = 2

# A server ends a query that takes too long; one that hangs does not, and is left after this.
_GRACE_SECONDS = 1.0

# More threads than a scoring run has, or a server of MLflow.
_CONNECTIONS = 16

_OPCODES_BETWEEN_CHECKS = 10_000  # of SQLite; a check takes longer than 100 of them

_NAME = "millstream"


def open_engine(url: URL, timeout_ms: int) -> Engine:
    """Open a database; nothing is connected yet.

    Args:
        url: Its address.
        timeout_ms: Of a query in PostgreSQL.
    """
    is_server = url.get_backend_name() == "postgresql"
    return _open_postgres(url, timeout_ms) if is_server else _open_sqlite_file(url)


@contextmanager
def within(raw: Any, timeout_ms: int) -> Iterator[None]:
    """Let nothing that a connection does take longer.

    Args:
        raw: The connection of the driver.
        timeout_ms: How long a query may take, or wait for a lock.

    Raises:
        SourceError: In place of what a connection to a server that hangs raises.
    """
    limit = _interrupt if isinstance(raw, sqlite3.Connection) else _hang_up
    with limit(raw, timeout_ms):
        yield


def _open_postgres(url: URL, timeout_ms: int) -> Engine:
    seconds = max(_CONNECT_SECONDS, timeout_ms // 1_000)
    engine = _create_engine(
        url,
        isolation_level="AUTOCOMMIT",  # else each query takes three round trips
        max_overflow=_CONNECTIONS,
        pool_timeout=seconds,
        json_deserializer=_as_written,
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


def _as_written(document: bytes | str) -> str:
    # A rule gets JSON as a text, and one of too many levels cannot be parsed.
    return document if isinstance(document, str) else document.decode()


def _open_sqlite_file(url: URL) -> Engine:
    path = Path(str(url.database)).expanduser()
    # SQLAlchemy's own choice for it closes connections that threads use.
    engine = open_sqlite(
        f"file:{quote(str(path))}?mode=ro",
        poolclass=QueuePool,
        max_overflow=_CONNECTIONS,
        pool_timeout=1,
    )

    @event.listens_for(engine, "connect")
    def _remember_file(_connection: object, record: Any) -> None:
        record.info["file"] = _identity_of(path)

    @event.listens_for(engine, "checkout")
    def _leave_replaced_file(_connection: object, record: Any, _proxy: object) -> None:
        # An export that is moved to its place leaves the earlier file to who has it open.
        if record.info["file"] != _identity_of(path):
            raise DisconnectionError

    return engine


def _identity_of(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


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
def _interrupt(raw: Any, timeout_ms: int) -> Iterator[None]:
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
    _watchdog.watch(wire, time.monotonic() + timeout_ms / 1_000 + _GRACE_SECONDS)
    try:
        yield
    except Exception:
        if _watchdog.forget(wire):
            raise SourceError(f"no answer within {timeout_ms} ms") from None
        raise
    finally:
        _watchdog.forget(wire)
        wire.close()


class _Watchdog:
    """Shuts sockets down that are not forgotten in time.

    One thread for all: a timer for each query would double the time of a short one.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ends: dict[socket.socket, float] = {}
        self._wakes_at = math.inf
        self._thread = threading.Thread()

    def watch(self, wire: socket.socket, end: float) -> None:
        with self._changed:
            self._ends[wire] = end
            if not self._thread.is_alive():  # at first, and after a fork
                self._thread = threading.Thread(
                    target=self._run, name="millstream-watchdog", daemon=True
                )
                self._thread.start()
            elif end < self._wakes_at:
                self._changed.notify()

    def forget(self, wire: socket.socket) -> bool:
        """Return whether a socket was shut down."""
        with self._changed:
            return self._ends.pop(wire, None) is None

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for wire in [wire for wire, end in self._ends.items() if end <= now]:
                    del self._ends[wire]
                    with suppress(OSError):  # the server was faster
                        wire.shutdown(socket.SHUT_RDWR)
                self._wakes_at = min(self._ends.values(), default=math.inf)
                patience = self._wakes_at - now
                self._changed.wait(patience if patience < threading.TIMEOUT_MAX else None)


_watchdog = _Watchdog()
