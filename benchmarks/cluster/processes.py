"""Processes of the benchmark: start, wait, CPU seconds, end."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tasks.common.settings import REPOSITORY

_OURS = ("PREFECT", "MLFLOW", "MILLSTREAM", "DASK")
_START_TIMEOUT_S = 180


def start(command: Sequence[str], home: Path, variables: Mapping[str, str]) -> psutil.Popen:
    """Start Python in a session of its own, with the file `log` in a folder.

    Args:
        command: Arguments of Python.
        home: The folder.
        variables: Environment variables; others of the project are not passed on.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "log").open("ab") as log:
        return psutil.Popen(
            [sys.executable, *command],
            cwd=REPOSITORY,
            env=environment_of(variables),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def environment_of(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process, with no variables of the project but these."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    # Several processes with a thread a core slow each other down.
    return others | {"MILLSTREAM_PROJECT": os.devnull, "OMP_NUM_THREADS": "1", **variables}


def wait_until_said(process: psutil.Popen, log: Path, said: str) -> None:
    """Wait until the log of a process has a text.

    Raises:
        RuntimeError: If the process ends before, or says something else for three minutes.
    """
    deadline = time.monotonic() + _START_TIMEOUT_S
    while said not in log.read_text(encoding="utf-8"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{log}: no process that is ready; expected “{said}” in its log")
        time.sleep(0.1)


def end(process: psutil.Popen) -> None:
    """Kill a process and those of its session, and wait for its end."""
    with suppress(ProcessLookupError):  # it has ended by itself
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def cpu_with_children(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and of all that it started."""
    return sum(map(cpu_of, [process, *process.children(recursive=True)]))


def cpu_of(process: psutil.Process) -> float:
    """Return the CPU seconds of a process, and of those that it waited for."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
