"""Run flows and benchmark modules in child processes, with timings and peak memory."""

import json
import logging
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.common.settings import REPOSITORY

logger = logging.getLogger(__name__)

_TIMEOUT_S = 1_800


@dataclass(frozen=True, slots=True)
class Called:
    """The result of a flow in a child process.

    Attributes:
        report: The flow's return value.
        marks: Times of start, end of imports, start of Prefect's server, model load and return of
            the flow, in seconds since the epoch.
        ended: Time of the end of the process.
        peak_mib: Peak memory in MiB.
    """

    report: dict[str, Any]
    marks: dict[str, float]
    ended: float
    peak_mib: float


def call_flow(
    name: str, parameters: dict[str, Any], home: Path, *, load: str | None = None
) -> Called:
    """Run a flow in a child process.

    Args:
        name: Name of the flow and its module.
        parameters: The flow's.
        home: The state folder, with the log in `logs/`.
        load: A registered pipeline to load before the flow is called, as `models:/NAME/VERSION`.

    Raises:
        subprocess.CalledProcessError: If it fails; the log says why.
    """
    answer = home / "answer.json"
    order = {
        "flow": name,
        "parameters": parameters,
        "load": load,
        "answer": str(answer),
        "began": time.time(),
    }
    run_module("benchmarks.drive_flow", order, home / "logs" / f"{name}.log")
    ended = time.time()
    found = json.loads(answer.read_text(encoding="utf-8"))
    return Called(found["report"], found["marks"], ended, found["peak_mib"])


def run_module(module: str, order: dict[str, Any], log: Path) -> None:
    """Run a module of this package with its parameters in JSON, and wait for its end.

    Raises:
        subprocess.CalledProcessError: If it fails.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as output:
        try:
            subprocess.run(
                [sys.executable, "-m", module, json.dumps(order)],
                cwd=REPOSITORY,
                stdout=output,
                stderr=output,
                timeout=_TIMEOUT_S,
                check=True,
            )
        except subprocess.SubprocessError:
            logger.error("%s failed; its log is %s", module, log)
            raise
