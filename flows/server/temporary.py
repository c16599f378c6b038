"""The server that a command has for itself where none is running: the application of `make up`."""

import atexit
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
from prefect.context import refresh_global_settings_context
from prefect.settings import (
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    get_current_settings,
    temporary_settings,
)

from tasks.common.environment import environment_with, set_prefect_api
from tasks.common.errors import MillstreamError
from tasks.common.settings import REPOSITORY, get_settings

MAX_LOG_BYTES = 1_000_000
STOP_TIMEOUT_S = 5

_POLL_INTERVAL_S = 0.05


def log_file() -> Path:
    """Return where the server of a command writes what it has to say."""
    return get_settings().root / "logs" / "temporary-server.log"


def use_temporary_server(meanwhile: Callable[[], object]) -> None:
    """Start a server that ends with this process, and name it as Prefect's API in it.

    Prefect would start one as well, but imports all of its server for that, in a second and more.

    Args:
        meanwhile: Called while the server starts.

    Raises:
        MillstreamError: If it does not start.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # A terminal interrupts all processes in its foreground. The server would end first, and Prefect
    # would try for minutes to report the interruption to it. A child inherits blocked signals.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = start_uvicorn(SimpleNamespace(port=port))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    atexit.register(_stop, process)
    meanwhile()
    api = f"http://127.0.0.1:{port}/api"
    _wait_until_healthy(process, api)
    # For child processes; and for threads without a context, which take the global one.
    set_prefect_api(api)
    refresh_global_settings_context()
    # It has no user interface to view a run in.
    logging.getLogger("prefect.flow_runs").addFilter(_has_no_link)


def without_heartbeats() -> AbstractContextManager[object]:
    """Return a context whose flow runs send no heartbeats.

    The automations of `make up` wait for them, those of a temporary server do not. A flow ends by
    waiting for the thread that sends them, which sleeps for a second at a time.
    """
    return temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})


def _wait_until_healthy(process: "subprocess.Popen[bytes]", api: str) -> None:
    deadline = time.monotonic() + PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()
    with httpx.Client() as client:
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(httpx.TransportError):  # it does not listen yet
                if client.get(f"{api}/health").is_success:
                    return
            time.sleep(_POLL_INTERVAL_S)
    ended = "does not answer" if process.poll() is None else f"ended with {process.returncode}"
    raise MillstreamError(f"Prefect's server: {ended}; expected it to start, see {log_file()}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _has_no_link(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("View at ")


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
    # This process alone holds `_held`, until it ends, however it does; the server then ends, too.
    read, _held = os.pipe()
    # It ends after the command's result; its services would then print tracebacks of what they
    # write anew in their last attempt.
    with log.open("wb" if full else "ab") as output, os.fdopen(read) as alive:
        return subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=environment,
            stdin=alive,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
