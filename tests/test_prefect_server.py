"""SQLite as Prefect's server uses it: connections of one process, in the threads of aiosqlite."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from deployments.prefect_server import share_sqlite

BUSY_S = 10.0
PREFECTS_BEGIN = "BEGIN DEFERRED"
ROW_ONE, ROW_TWO, ROW_THREE = (text(f"INSERT INTO rows VALUES ({row})") for row in (1, 2, 3))


@asynccontextmanager
async def engine_on(path: Path) -> AsyncIterator[AsyncEngine]:
    """An engine on a table with row 1, as Prefect makes its own."""
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}",
        connect_args={"timeout": BUSY_S, "isolation_level": None},
    )
    share_sqlite(engine.sync_engine)
    async with engine.connect() as connection:
        await connection.execute(text("PRAGMA journal_mode = WAL"))
        await connection.execute(text("CREATE TABLE rows (number INTEGER PRIMARY KEY)"))
        await connection.execute(ROW_ONE)
    yield engine
    await engine.dispose()


def test_what_failed_does_not_stop_the_loop_when_it_is_collected(tmp_path: Path) -> None:
    async def serve() -> None:
        async with (
            engine_on(tmp_path / "rows.db") as engine,
            engine.connect() as writer,
            engine.connect() as waiting,
        ):
            gc.disable()
            try:
                with pytest.raises(IntegrityError):
                    await waiting.execute(ROW_ONE)
                await writer.exec_driver_sql("BEGIN IMMEDIATE")
                task = asyncio.ensure_future(waiting.execute(ROW_TWO))
                await asyncio.sleep(0.5)
                gc.collect()
            finally:
                gc.enable()
            await writer.exec_driver_sql("COMMIT")
            await task  # else: database is locked

    asyncio.run(serve())


def test_who_read_before_another_wrote_can_still_write(tmp_path: Path) -> None:
    async def write(connection: AsyncConnection) -> None:
        await connection.exec_driver_sql(PREFECTS_BEGIN)
        await connection.execute(ROW_TWO)
        await connection.exec_driver_sql("COMMIT")

    async def serve() -> None:
        async with (
            engine_on(tmp_path / "rows.db") as engine,
            engine.connect() as reader,
            engine.connect() as other,
        ):
            await reader.exec_driver_sql(PREFECTS_BEGIN)
            await reader.execute(text("SELECT * FROM rows"))
            task = asyncio.ensure_future(write(other))
            await asyncio.sleep(0.5)
            await reader.execute(ROW_THREE)  # else: database is locked
            await reader.exec_driver_sql("COMMIT")
            await task

    asyncio.run(serve())
