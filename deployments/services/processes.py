"""Find and end the processes of `make up` by a mark in their environment.

Child processes inherit the mark, as a flow run whose worker was killed. Processes of other users,
of other state folders and without a mark are never ended.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress

import psutil

from tasks.common.settings import Settings

MARK = "MILLSTREAM_SERVICE"

_GRACE_S = 20.0  # a scoring run finishes its batch and unlocks its output folder


def mark_of(settings: Settings, service: str) -> str:
    """Return the value of `MARK` for a service of this state folder."""
    return f"{service}:{settings.root}"


def leftover_processes(settings: Settings, service: str | None = None) -> Iterator[psutil.Process]:
    """Yield the running processes of a service, or of all, except this one and its parents.

    Args:
        settings: Those of the state folder.
        service: Name of the service; None for all.
    """
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    for process in psutil.process_iter():
        # Other users' processes cannot be read, and any may end meanwhile.
        with suppress(psutil.Error):
            name, separator, root = process.environ().get(MARK, "").partition(":")
            ours = separator and root == str(settings.root) and service in (None, name)
            if ours and process.pid not in own and process.uids().real == os.getuid():
                yield process


def end_processes(processes: Iterable[psutil.Process]) -> list[str]:
    """Terminate processes, kill those still alive after 20 s, and return their descriptions."""
    ended, processes = [], list(processes)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            ended.append(f"{process.pid} ({' '.join(process.cmdline()[:6])})")
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=_GRACE_S)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=_GRACE_S)
    return ended
