"""SQLite as Prefect's server uses it: connections of one process, in the threads of aiosqlite."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import copy_context
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from flows.server.sqlite_writers import QueuedWriters, close_failed_cursors
from tests.support.operation import free_ports

BUSY_S = 10.0
MORE_THAN_CONNECTIONS = 20
TABLE = text("CREATE TABLE rows (number INTEGER PRIMARY KEY)")
ROW_ONE, ROW_TWO = (text(f"INSERT INTO rows VALUES ({row})") for row in (1, 2))
ONE_MORE = text("INSERT INTO rows SELECT max(number) + 1 FROM rows")
COUNT = text("SELECT count(*) FROM rows")


class Rows:
    """A table with row 1, in a database as the server has it."""

    def __init__(self, path: Path) -> None:
        self.database = QueuedWriters(f"sqlite+aiosqlite:///{path}")

    async def make(self) -> None:
        async with self.writing() as session:
            await session.execute(TABLE)
            await session.execute(ROW_ONE)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        async with await self.database.session(await self.database.engine()) as session:
            yield session

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        async with self.reading() as session, self.database.begin_transaction(session):
            yield session

    async def count(self) -> int:
        async with self.reading() as session:
            return int((await session.execute(COUNT)).scalar_one())

    async def add(self) -> None:
        """Write what another's write since the first read would make wrong."""
        async with self.writing() as session:
            await session.execute(COUNT)
            await asyncio.sleep(0)
            await session.execute(ONE_MORE)


def test_who_reads_before_another_writes_can_still_write(tmp_path: Path) -> None:
    async def serve() -> int:
        rows = Rows(tmp_path / "rows.db")
        await rows.make()
        await asyncio.gather(*(rows.add() for _ in range(MORE_THAN_CONNECTIONS)))
        return await rows.count()

    assert asyncio.run(serve()) == 1 + MORE_THAN_CONNECTIONS


def test_a_transaction_may_read_in_another_session_however_many_wait_to_write(
    tmp_path: Path,
) -> None:
    async def serve() -> int:
        rows = Rows(tmp_path / "rows.db")
        await rows.make()
        others = copy_context()
        async with rows.writing() as session:
            await session.execute(ROW_TWO)
            waiting = [
                asyncio.create_task(rows.add(), context=others)
                for _ in range(MORE_THAN_CONNECTIONS)
            ]
            await asyncio.sleep(0.5)
            seen = await rows.count()
        await asyncio.gather(*waiting)
        return seen

    assert asyncio.run(serve()) == 1  # what is not committed is not seen


def test_a_transaction_within_another_does_not_wait_for_it(tmp_path: Path) -> None:
    async def serve() -> int:
        rows = Rows(tmp_path / "rows.db")
        await rows.make()
        async with rows.writing(), rows.writing() as inner:
            return int((await inner.execute(COUNT)).scalar_one())

    assert asyncio.run(serve()) == 1


def test_a_task_created_within_a_transaction_waits_for_others_like_any_other(
    tmp_path: Path,
) -> None:
    async def serve() -> int:
        rows = Rows(tmp_path / "rows.db")
        await rows.make()
        async with rows.writing():
            created = [asyncio.create_task(rows.add()) for _ in range(MORE_THAN_CONNECTIONS)]
        await asyncio.gather(*created)
        return await rows.count()

    assert asyncio.run(serve()) == 1 + MORE_THAN_CONNECTIONS


def test_what_failed_does_not_stop_the_loop_when_it_is_collected(tmp_path: Path) -> None:
    async def serve() -> None:
        engine = create_async_engine(
            f"sqlite+aiosqlite:///{tmp_path / 'rows.db'}",
            connect_args={"timeout": BUSY_S, "isolation_level": None},
        )
        close_failed_cursors(engine.sync_engine)
        async with engine.connect() as writer, engine.connect() as waiting:
            await writer.execute(TABLE)
            await writer.execute(ROW_ONE)
            gc.disable()
            try:
                with pytest.raises(IntegrityError):
                    await waiting.execute(ROW_ONE)
                await writer.exec_driver_sql("BEGIN IMMEDIATE")
                task = asyncio.create_task(waiting.execute(ROW_TWO))
                await asyncio.sleep(0.5)
                gc.collect()
            finally:
                gc.enable()
            await writer.exec_driver_sql("COMMIT")
            await task  # else: database is locked
        await engine.dispose()

    asyncio.run(serve())


def test_another_database_is_connected_to_as_without_us() -> None:
    async def connect() -> None:
        (port,) = free_ports(1)
        engine = create_async_engine(f"postgresql+asyncpg://nobody@127.0.0.1:{port}/none")
        close_failed_cursors(engine.sync_engine)
        await engine.connect()

    with pytest.raises(ConnectionRefusedError):
        asyncio.run(connect())
