"""Prefect's application behind our middleware, with queued SQLite writers.

`python -m flows.server.app PORT` serves it on the loopback interface, as the server of a command,
until its standard input is closed.
"""

import os
import signal
import sys
import time
from threading import Thread
from typing import Any

import uvicorn
from prefect.server.api import server
from prefect.server.database.dependencies import set_database_config
from prefect.server.utilities.database import get_dialect
from prefect.settings import (
    PREFECT_API_DATABASE_CONNECTION_URL,
    PREFECT_SERVER_CORS_ALLOWED_ORIGINS,
    PREFECT_UI_URL,
)
from sqlalchemy import Engine
from starlette.types import ASGIApp

from flows.server.same_origin import SameOriginMiddleware
from flows.server.sqlite_writers import QueuedWriters, close_failed_cursors
from flows.server.temporary import STOP_TIMEOUT_S
from tasks.common.settings import get_settings

_create_prefect_app = server.create_app


def create_app(**options: Any) -> ASGIApp:
    """Return Prefect's application; that of a server, which is `final`, is behind our middleware.

    Prefect also calls the application within its process, under a host name of its own.

    Args:
        options: Those of Prefect's `create_app`.
    """
    app = _create_prefect_app(**options)
    if not options.get("final"):
        return app
    return SameOriginMiddleware(app, bound=get_settings().host, origins=_allowed_origins())


def queue_sqlite_writers() -> None:
    """Let this process write to a SQLite database one transaction at a time; others stay.

    Call it once: each call makes a queue.
    """
    url = PREFECT_API_DATABASE_CONNECTION_URL.value()
    close_failed_cursors(Engine)
    if get_dialect(url).name == "sqlite":
        set_database_config(QueuedWriters(url))


def _allowed_origins() -> list[str]:
    return [*PREFECT_SERVER_CORS_ALLOWED_ORIGINS.value().split(","), PREFECT_UI_URL.value() or ""]


def _end_with_the_command() -> None:
    """Wait until the command is gone, which alone holds the other end of standard input; end.

    A command that is killed cannot end its server.
    """
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_TIMEOUT_S)
    os._exit(1)


if __name__ == "__main__":
    Thread(target=_end_with_the_command, daemon=True).start()
    queue_sqlite_writers()
    application = create_app(final=True)
    uvicorn.run(
        application, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", lifespan="on"
    )
