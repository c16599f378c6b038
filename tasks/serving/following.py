"""Follow an alias: a new champion is loaded beside the one that answers, and takes over.

The version before stays loaded while there is memory, so that a rollback takes no time.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import psutil
from mlflow.exceptions import MlflowException

from tasks.common.errors import MillstreamError, ModelError
from tasks.serving.types import ServingOptions
from tasks.serving.versions import ServedModel, load_served_model
from tasks.tracking.pipeline_loader import forget_pipelines, is_loaded
from tasks.tracking.registry import resolve_pipeline

logger = logging.getLogger("millstream.serving")

Status = Literal["starting", "ok", "degraded"]

_CGROUP = Path("/sys/fs/cgroup")

# Limit, use and statistics of a control group, and the name of cached files in the statistics.
# https://docs.kernel.org/admin-guide/cgroup-v2.html, and version 1. Without a limit, the first has
# "max" there, the second more than any machine has.
_FILES = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)


@dataclass(frozen=True, slots=True)
class Followed:
    """What answers, and what became of the last look at the registry.

    Attributes:
        served: What answers; None before the first version is loaded.
        since: When it began to.
        swaps: How often another version took over.
        error: Why the version that is wanted does not answer; empty if it does.
    """

    served: ServedModel | None = None
    since: datetime | None = None
    swaps: int = 0
    error: str = ""

    @property
    def status(self) -> Status:
        """Whether what is wanted answers, what was before it, or nothing yet."""
        if self.served is None:
            return "starting"
        return "degraded" if self.error else "ok"


class Follower:
    """A thread that looks where an alias points, and swaps what answers.

    Attributes:
        now: What answers now; replaced as a whole.
    """

    def __init__(self, options: ServingOptions, on_swap: Callable[[ServedModel], None]) -> None:
        """Take what is followed; `start` begins.

        Args:
            options: Which versions are wanted.
            on_swap: Called with what takes over, before it does.
        """
        self.now = Followed()
        self._options = options
        self._on_swap = on_swap
        self._needed_bytes = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def start(self) -> None:
        """Load what is wanted, and look again and again, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.look()
            self._stopped.wait(self._options.poll_seconds)

    def look(self) -> None:
        """Look where the alias points, and swap if it is another version; never raises."""
        try:
            if self._is_new():
                self._swap()
            elif self.now.error:
                self.now = replace(self.now, error="")
                logger.info("%s answers again as wanted", self._named())
        except (MillstreamError, MlflowException, OSError) as error:
            self._fail(" ".join(str(error).split()))
        except Exception as error:
            # A version's own code may raise anything as it is loaded; the old one goes on.
            logger.exception("a version could not be loaded")
            self._fail(f"{type(error).__name__} as it was loaded; the log has the traceback")

    def _is_new(self) -> bool:
        if (served := self.now.served) is None:
            return True
        asked = self._options.asked_split
        references = [self._options.model_uri, *([asked.reference] if asked else [])]
        return [resolve_pipeline(one) for one in references] != [
            version.model.uri for version in served.versions
        ]

    def _swap(self) -> None:
        started = time.monotonic()
        self._make_room()
        process = psutil.Process()
        before = process.memory_info().rss
        served = load_served_model(self._options)
        self._needed_bytes = max(self._needed_bytes, process.memory_info().rss - before)
        self._on_swap(served)
        swaps = self.now.swaps + (self.now.served is not None)
        self.now = Followed(served, datetime.now(UTC), swaps)
        logger.info("%s answers, after %.1f s", self._named(), time.monotonic() - started)

    def _make_room(self) -> None:
        """Let go of the version before the present one if another does not fit beside both.

        Raises:
            ModelError: If it does not fit then either.
        """
        if self.now.served is None or self._fits() or is_loaded(self._wanted()):
            return
        forget_pipelines()
        if not self._fits():
            raise ModelError(
                f"{self._wanted()}: needs some {self._needed_bytes / 2**20:,.0f} MiB beside the "
                f"version that answers, and {free_memory() / 2**20:,.0f} MiB "
                "are free; expected more, or a restart, which loads it alone"
            )

    def _fits(self) -> bool:
        return free_memory() > self._needed_bytes

    def _wanted(self) -> str:
        return resolve_pipeline(self._options.model_uri)

    def _named(self) -> str:
        served = self.now.served
        return ", ".join(version.model.uri for version in served.versions) if served else "nothing"

    def _fail(self, error: str) -> None:
        if error != self.now.error:
            goes_on = f"{self._named()} goes on answering" if self.now.served else "nothing answers"
            logger.warning("%s: %s", goes_on, error)
        self.now = replace(self.now, error=error)


def free_memory(cgroup: Path = _CGROUP) -> int:
    """Return the bytes that are free; psutil does not know the limit of a container.

    Args:
        cgroup: Mount point of the control group of the process or its container.
    """
    available: int = psutil.virtual_memory().available
    for limit, use, statistics, cached in _FILES:
        try:
            most = (cgroup / limit).read_text().strip()
            used = int((cgroup / use).read_text())
            counts = dict(line.split() for line in (cgroup / statistics).read_text().splitlines())
        except OSError:
            continue
        if most.isdecimal():
            # The kernel drops cached files before it kills a process.
            available = min(available, int(most) - used + int(counts.get(cached, 0)))
    return max(0, available)
