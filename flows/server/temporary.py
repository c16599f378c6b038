"""The server that a command has for itself where none is running: the application of `make up`."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from prefect.settings import get_current_settings

from tasks.common.environment import environment_with
from tasks.common.settings import REPOSITORY, get_settings

MAX_LOG_BYTES = 1_000_000


def log_file() -> Path:
    """Return where the server of a command writes what it has to say."""
    return get_settings().root / "logs" / "temporary-server.log"


def start_uvicorn(server: Any) -> "subprocess.Popen[bytes]":
    """Start the process of a `SubprocessASGIServer`: a method of it, instead of Prefect's own.

    https://github.com/PrefectHQ/prefect/blob/3.8.8/src/prefect/server/api/server.py has that one.

    Args:
        server: Its `port` is listened on, on the loopback interface.
    """
    command = [sys.executable, "-m", "flows.server.app", str(server.port)]
    environment = environment_with(
        {
            # No user interface, and none of the services that schedule runs.
            "PREFECT_UI_ENABLED": "0",
            "PREFECT__SERVER_EPHEMERAL": "1",
            "PREFECT__SERVER_FINAL": "1",
            **get_current_settings().to_environment_variables(exclude_unset=True),
        }
    )
    log = log_file()
    log.parent.mkdir(parents=True, exist_ok=True)
    full = log.is_file() and log.stat().st_size > MAX_LOG_BYTES
    # It ends after the command's result; its services would then print tracebacks of what they
    # write anew in their last attempt.
    with log.open("wb" if full else "ab") as output:
        return subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
