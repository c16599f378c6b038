"""Prefect's application behind our middleware, with queued SQLite writers."""

from typing import Any

from fastapi import FastAPI
from prefect.server.api import server
from prefect.server.database.dependencies import set_database_config
from prefect.server.utilities.database import get_dialect
from prefect.settings import (
    PREFECT_API_DATABASE_CONNECTION_URL,
    PREFECT_SERVER_CORS_ALLOWED_ORIGINS,
    PREFECT_UI_URL,
)
from sqlalchemy import Engine

from flows.server.same_origin import SameOriginMiddleware
from flows.server.sqlite_writers import QueuedWriters, close_failed_cursors
from tasks.common.settings import get_settings

_create_prefect_app = server.create_app


def create_app(**options: Any) -> FastAPI:
    """Return the application of a server: a factory for uvicorn.

    Args:
        options: Those of Prefect's `create_app`.
    """
    app = _create_prefect_app(**options)
    # The last one added is the first to see a request.
    app.add_middleware(SameOriginMiddleware, bound=get_settings().host, origins=_allowed_origins())
    queue_sqlite_writers()
    return app


def queue_sqlite_writers() -> None:
    """Let this process write to a SQLite database one transaction at a time; others stay."""
    url = PREFECT_API_DATABASE_CONNECTION_URL.value()
    close_failed_cursors(Engine)
    if get_dialect(url).name == "sqlite":
        set_database_config(QueuedWriters(url))


def _allowed_origins() -> list[str]:
    return [*PREFECT_SERVER_CORS_ALLOWED_ORIGINS.value().split(","), PREFECT_UI_URL.value() or ""]
