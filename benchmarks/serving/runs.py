"""A load on a server, a server's labels, and the engine alone: single runs."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.child import run_module
from benchmarks.serving.connection import Connection
from benchmarks.serving.load import request_of
from benchmarks.serving.measured import Load, LoadOrder
from benchmarks.serving.servers import Endpoint, Weights
from tasks.common.settings import REPOSITORY

_LABEL = re.compile(rb'label\\?":\s?\\?"([^"\\]*)')
_TIMEOUT_S = 60


def run_alone(
    weights: Weights, texts: Sequence[str], cores: int, folder: Path
) -> tuple[float, list[str]]:
    """Return the seconds of the engine alone, in a process of its own, and its labels.

    Args:
        weights: With the engine.
        texts: The texts, all in one call.
        cores: The cores that it may use.
        folder: Folder for texts, answer and log.
    """
    question, answer = folder / "question.json", folder / "answer.json"
    question.write_text(json.dumps(texts), encoding="utf-8")
    order = {
        "member": str(weights.member),
        "engine": f"engine {weights.variant}",
        "texts": str(question),
        "max_tokens": weights.max_tokens,
        "answer": str(answer),
        "cores": cores,
    }
    run_module("benchmarks.drive_engine", order, folder / "engine.log")
    found = json.loads(answer.read_text(encoding="utf-8"))
    return float(found["seconds"]), list(found["labels"])


def run_load(order: LoadOrder, folder: Path) -> Load:
    """Run a load generator in a process of its own.

    Args:
        order: What it does.
        folder: Folder for the order.

    Raises:
        subprocess.CalledProcessError: If it fails.
    """
    path = folder / "order.json"
    path.write_text(order.model_dump_json(), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.serving.load", str(path)]
    timeout = order.warm_up + order.seconds + order.timeout + _TIMEOUT_S
    done = subprocess.run(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, timeout=timeout, check=True
    )
    return Load.model_validate_json(done.stdout)


async def ask_labels(endpoint: Endpoint, texts: Sequence[str]) -> list[str]:
    """Ask a server for the labels of texts, one after the other.

    Raises:
        ValueError: If an answer has no label.
    """
    connection = await Connection.open(endpoint.server.port)
    labels = []
    for text in texts:
        status = await connection.send(request_of(endpoint.dialect, text), _TIMEOUT_S)
        found = _LABEL.search(connection.body)
        if found is None:
            raise ValueError(f"status {status}: {connection.body[:200]!r}; expected a label")
        labels.append(found[1].decode())
    connection.close()
    return labels
