"""A Prefect server for tests, on a copy of a database that one process of a run makes for all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from unittest.mock import patch

import anyio
from prefect.settings import (
    PREFECT_SERVER_DATABASE_CONNECTION_URL,
    PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED,
    PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL,
    PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_ENABLED,
    PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED,
    temporary_settings,
)
from prefect.testing import utilities

from flows.server.temporary import without_heartbeats

_DATABASE = "prefect-test.db"  # as Prefect's harness calls it


def make_database(folder: Path) -> None:
    """Make Prefect's database, whose migrations take four seconds."""
    from prefect.server.database.dependencies import temporary_database_interface

    url = f"sqlite+aiosqlite:///{folder / _DATABASE}"
    with (
        temporary_database_interface(),
        temporary_settings({PREFECT_SERVER_DATABASE_CONNECTION_URL: url}),
    ):
        anyio.run(_migrate)


async def _migrate() -> None:
    from prefect.server.database.dependencies import provide_database_interface

    database = provide_database_interface()
    await database.create_db()
    await (await database.engine()).dispose()


def copy_database(made: Path, path: Path) -> None:
    """Copy what `make_database` made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(made / _DATABASE, path)


@contextmanager
def prefect_server(made: Path, *, keeps_events: bool) -> Iterator[None]:
    """Run a Prefect server with a database that goes away.

    Args:
        made: The folder of a database by `make_database`, which the server gets a copy of.
        keeps_events: Whether it keeps events, and task runs, which it makes of them. They take two
            thirds of its time.
    """
    services = (
        PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED,
        PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_ENABLED,
        PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED,
    )
    folder = mkdtemp()  # the harness removes it
    copy_database(made, Path(folder) / _DATABASE)
    with (
        temporary_settings(dict.fromkeys(services, keeps_events)),
        temporary_settings({PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL: 0.1}),
        # Prefect's harness always begins with an empty folder.
        patch.object(utilities, "mkdtemp", return_value=folder),
        utilities.prefect_test_harness(server_startup_timeout=120),
        without_heartbeats(),
    ):
        yield
