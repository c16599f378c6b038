"""Servers in processes of their own: start, wait, pause, end."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

_START_TIMEOUT_S = 180
_REQUEST_TIMEOUT_S = 60

Ask = Callable[..., Any]


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        port: Its port on 127.0.0.1.
        process: Its first process, which leads a process group.
    """

    port: int
    process: subprocess.Popen[bytes]

    def pause(self) -> None:
        """Stop all its processes where they are, so that they take no CPU time from others."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        os.killpg(self.process.pid, signal.SIGCONT)


@contextmanager
def bound_to_cores(cores: int) -> Iterator[int]:
    """Bind what this thread starts in the block to the first of its cores; yield their number."""
    allowed = os.sched_getaffinity(0)
    chosen = sorted(allowed)[:cores]
    os.sched_setaffinity(0, chosen)
    try:
        yield len(chosen)
    finally:
        os.sched_setaffinity(0, allowed)


@contextmanager
def running(
    command: Callable[[int], Sequence[str]], folder: Path, working_folder: Path | None = None
) -> Iterator[Server]:
    """Run a server for the block, which begins once `/ping` answers.

    Args:
        command: Returns the command for a port.
        folder: Folder of the server's state and log.
        working_folder: Where it runs; None for `folder`.

    Raises:
        RuntimeError: If it ends or does not answer; its log says why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    with (folder / "log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command(port),
            cwd=working_folder or folder,
            env=_environment(folder),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait(port, process, folder / "log")
        yield Server(port, process)
    finally:
        # MLflow starts uvicorn through a shell, in the same process group.
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def served(model_uri: str, folder: Path) -> Iterator[Ask]:
    """Serve a model with MLflow for the block, and yield a function that sends a request.

    It takes a text, and other columns by their names.

    Args:
        model_uri: The model.
        folder: Folder of the server's state and log.
    """
    with running(mlflow_command(model_uri), folder) as server, _client(server.port) as client:
        yield partial(_ask, client)


def mlflow_command(model_uri: str) -> Callable[[int], list[str]]:
    """Return the command of MLflow's server of a model, for a port."""
    mlflow_path = Path(sys.executable).parent / "mlflow"
    options = {"--model-uri": model_uri, "--env-manager": "local", "--host": "127.0.0.1"}
    flat = [part for option in options.items() for part in option]
    return lambda port: [str(mlflow_path), "models", "serve", *flat, "--port", str(port)]


def _environment(folder: Path) -> dict[str, str]:
    from tasks.common.settings import get_settings

    return os.environ | {
        "MLFLOW_TRACKING_URI": get_settings().tracking_uri,
        "MILLSTREAM_HOME": str(folder),
        # MLflow calls uvicorn through the shell.
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _client(port: int) -> httpx.Client:
    address = f"http://127.0.0.1:{port}"
    return httpx.Client(base_url=address, timeout=_REQUEST_TIMEOUT_S, trust_env=False)


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    with _client(port) as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if client.get("/ping").is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
    raise RuntimeError(f"the server does not answer; its log is {log}")


def _ask(client: httpx.Client, text: str, **others: object) -> None:
    columns = {"text": text} | others
    body = {"dataframe_split": {"columns": [*columns], "data": [[*columns.values()]]}}
    client.post("/invocations", json=body).raise_for_status()
