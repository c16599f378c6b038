"""Make the application in each process of online serving; all share a folder of metrics."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tasks.common.environment import share_metrics
from tasks.serving.types import ServingOptions


@contextmanager
def metrics_folder(workers: int) -> Iterator[Path | None]:
    """Yield the folder that several processes write their metrics into; None for a single one."""
    if workers == 1:
        yield None
        return
    with TemporaryDirectory(prefix="millstream-metrics-") as folder:
        yield Path(folder)


def make_application(options: ServingOptions, token: str, folder: Path | None) -> Any:
    """Return the application of this process.

    Args:
        options: How it answers.
        token: What requests have to send; empty lets everybody in.
        folder: Where the processes share their metrics; None for a single one.
    """
    _log_to_terminal()
    if folder is not None:
        share_metrics(folder)
    # The library reads the variable as it is imported.
    from tasks.serving.application import create_application

    return create_application(options, token=token, shared_metrics=folder is not None)


def _log_to_terminal() -> None:
    """Give the loggers of a server a handler of their own; that of Prefect takes 0.3 ms a line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s | %(levelname)-7s | %(message)s"))
    for name in ("millstream", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.handlers, logger.propagate = [handler], False
