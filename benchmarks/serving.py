"""Latency of the pipeline behind MLflow's model server, compared with a no-op model."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import mlflow
import pandas as pd

from benchmarks.measured import ServingRound
from benchmarks.peers import Peer
from benchmarks.prepare import Prepared
from benchmarks.timing import timed

_START_TIMEOUT_S = 180
_REQUEST_TIMEOUT_S = 60

Ask = Callable[..., Any]


def measure(
    prepared: Prepared,
    model_uri: str,
    engine: Peer,
    texts: Sequence[str],
    *,
    rounds: int,
    between: Callable[[], None],
) -> tuple[ServingRound, ...]:
    """Time requests of each kind in turns, then the engine alone, text after text.

    Args:
        prepared: The state folder.
        model_uri: The pipeline to serve.
        engine: The pipeline's engine.
        texts: Distinct texts, divided among the rounds.
        rounds: Turns.
        between: Called before each round.
    """
    scratch = prepared.home / "serving"
    shutil.rmtree(scratch, ignore_errors=True)  # the cache has answers of the previous run
    nothing = _save_nothing(model_uri, scratch / "nothing-model")
    requests = len(texts) // (rounds + 1)
    parts = [
        texts[start : start + requests] for start in range(0, requests * (rounds + 1), requests)
    ]
    cached, computed = parts[0], parts[1:]
    with ExitStack() as stack:
        ask_nothing = stack.enter_context(served(str(nothing), scratch / "nothing"))
        ask = stack.enter_context(served(model_uri, scratch / "pipeline"))

        def run_alone(text: str) -> None:
            engine.run([text])

        for text in cached:  # stores their answers, and warms up all three
            ask(text)
            ask_nothing(text)
            run_alone(text)
        results = []
        for part in computed:
            between()
            results.append(_round(cached, part, ask, ask_nothing, run_alone))
    return tuple(results)


def _round(
    cached: Sequence[str], new: Sequence[str], ask: Ask, ask_nothing: Ask, run_alone: Ask
) -> ServingRound:
    turns = [
        (
            _milliseconds(ask_nothing, text),
            _milliseconds(ask, known),
            _milliseconds(ask, text),
            # With pauses and CPU caches like those of the server.
            _milliseconds(run_alone, text),
        )
        for text, known in zip(new, cached, strict=True)
    ]
    idle, hits, misses, between_requests = zip(*turns, strict=True)
    return ServingRound(
        nothing=idle,
        cached=hits,
        computed=misses,
        engine_in_turns=between_requests,
        engine=tuple(_milliseconds(run_alone, text) for text in new),
    )


@contextmanager
def served(model_uri: str, folder: Path) -> Iterator[Ask]:
    """Serve a model on loopback for the block, and yield a function that sends a request.

    It takes a text, and other columns by their names.

    Args:
        model_uri: The model.
        folder: Folder of the server's state and log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    with (folder / "log").open("w", encoding="utf-8") as log:
        server = subprocess.Popen(
            _command(model_uri, port),
            cwd=folder,
            env=_environment(folder),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=_REQUEST_TIMEOUT_S, trust_env=False
        ) as client:
            _wait(client, server, folder / "log")
            yield partial(_ask, client)
    finally:
        # MLflow starts uvicorn through a shell, in the same process group.
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _command(model_uri: str, port: int) -> list[str]:
    mlflow_command = Path(sys.executable).parent / "mlflow"
    options = {"--model-uri": model_uri, "--env-manager": "local", "--host": "127.0.0.1"}
    flat = [part for option in options.items() for part in option]
    return [str(mlflow_command), "models", "serve", *flat, "--port", str(port)]


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


def _wait(client: httpx.Client, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and server.poll() is None:
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


def _milliseconds(ask: Ask, text: str) -> float:
    return timed(lambda: ask(text))[1] * 1_000


def _save_nothing(model_uri: str, folder: Path) -> Path:
    """Save the no-op model with the signature of the pipeline."""
    shutil.rmtree(folder, ignore_errors=True)
    signature = mlflow.models.get_model_info(model_uri).signature
    script = Path(__file__).with_name("nothing_model.py")
    mlflow.pyfunc.save_model(
        str(folder),
        python_model=str(script),
        signature=signature,
        # Without one MLflow warns.
        input_example=pd.DataFrame({"text": ["a text"]}),
        pip_requirements=[],
    )
    return folder
