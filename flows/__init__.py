"""Flows: the body of each is the list of its steps."""

from types import ModuleType

import wrapt

import tasks  # noqa: F401 -- prepares the process, before a flow's module imports Prefect


# A hook, since Prefect imports its server late, and importing it takes a second.
@wrapt.when_imported("prefect.server.api.server")
def _replace_temporary_server(server: ModuleType) -> None:
    from flows.server.temporary import start_uvicorn

    server.SubprocessASGIServer._run_uvicorn_command = start_uvicorn
