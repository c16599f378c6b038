"""Prefect's command line, such as `server start`, with the server of `flows.server`.

The environment variables of the server are in `deployments.services.definitions`.
"""

from prefect.cli import app
from prefect.server.api import server

from flows.server.app import create_app, queue_sqlite_writers


def main() -> None:
    """Run Prefect's command line."""
    # `server start` imports it from there when it runs.
    server.create_app = create_app  # type: ignore[assignment]
    queue_sqlite_writers()
    app()


if __name__ == "__main__":
    main()
