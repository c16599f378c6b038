"""Processes that `make up` started, known by a mark in their environment, and ended by it.

The mark is inherited, so that it finds a flow run whose worker was killed, too. A process of
another user, another state folder, or no mark is never touched.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress

import psutil

from tasks.common.settings import Settings

MARK = "MILLSTREAM_SERVICE"

_GRACE_S = 20.0  # a run that scores ends its batch and lets go of its output folder


def mark_of(settings: Settings, service: str) -> str:
    """Return the value of `MARK` for a service of this state folder."""
    return f"{service}:{settings.root}"


def leftovers(settings: Settings, service: str | None = None) -> Iterator[psutil.Process]:
    """Yield the processes of a service, or of all, that run now; not this one or its parents.

    Args:
        settings: Those of the state folder whose services are meant.
        service: Its name; none for every service.
    """
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    for process in psutil.process_iter():
        # Those of others may not be read, and any may end meanwhile.
        with suppress(psutil.Error):
            name, separator, root = process.environ().get(MARK, "").partition(":")
            ours = separator and root == str(settings.root) and service in (None, name)
            if ours and process.pid not in own and process.uids().real == os.getuid():
                yield process


def end(processes: Sequence[psutil.Process]) -> list[str]:
    """Ask processes to end, kill those that do not, and return what they were."""
    ended = []
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
