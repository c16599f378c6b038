"""Flows: the body of each is the list of its steps."""

import gc
import sys
from types import ModuleType

import wrapt

import tasks  # noqa: F401 -- prepares the process, before a flow's module imports Prefect
from tasks.common.errors import ParameterError

# What `python -m` is while it looks for the module of a command:
# https://docs.python.org/3.11/using/cmdline.html#cmdoption-m
IS_COMMAND = sys.argv[0] == "-m"

if IS_COMMAND:
    # What imports make stays, and searching it for garbage takes a third of their time. It is not
    # disabled: a server that is started so lives for months.
    gc.set_threshold(100_000, 50)

try:
    # Flows take their defaults from it while they are imported.
    from flows.project_defaults import check_project

    check_project()
except ParameterError as error:
    if not IS_COMMAND:
        raise
    # The command will then not start.
    sys.stderr.write(f"error: {error}\n")
    sys.exit(error.exit_code)


# A hook, since Prefect imports its server late, and importing it takes a second.
@wrapt.when_imported("prefect.server.api.server")
def _replace_temporary_server(server: ModuleType) -> None:
    from flows.server.temporary import start_uvicorn

    server.SubprocessASGIServer._run_uvicorn_command = start_uvicorn
