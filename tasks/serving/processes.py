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
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s"
    )
    for name in ("millstream", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.INFO)
    if folder is not None:
        share_metrics(folder)
    # The library reads the variable as it is imported.
    from tasks.serving.application import create_application

    return create_application(options, token=token, shared_metrics=folder is not None)
