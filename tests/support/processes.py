"""Find the processes of a state folder by the mark of `make up`."""

from pathlib import Path

import psutil

from deployments.services.processes import MARK


def marked(home: Path) -> list[psutil.Process]:
    """Return the processes with the mark of a state folder."""
    return [process for process in psutil.process_iter() if _mark(process).endswith(f":{home}")]


def process_of(home: Path, service: str) -> psutil.Process:
    """Return the process of a service that is a child of the process manager."""
    found = (process for process in marked(home) if _is_supervised(process))
    return next(process for process in found if _mark(process).startswith(f"{service}:"))


def runs_in(home: Path) -> list[psutil.Process]:
    """Return the processes of runs, with or without a live worker."""
    found = [process for process in marked(home) if _mark(process).startswith("worker:")]
    return [process for process in found if not _is_worker(process)]


def is_manager(process: psutil.Process) -> bool:
    """Return whether a process is the process manager."""
    return "supervisor.supervisord" in process.cmdline()


def kill_all(home: Path) -> None:
    """Kill all processes at once, like a power failure."""
    processes = marked(home)
    for process in processes:
        process.kill()
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert alive == []


def _mark(process: psutil.Process) -> str:
    try:
        return process.environ().get(MARK, "")
    except psutil.Error:
        return ""


def _is_supervised(process: psutil.Process) -> bool:
    parent = process.parent()
    return parent is not None and is_manager(parent)


def _is_worker(process: psutil.Process) -> bool:
    try:
        return {"worker", "start"} <= set(process.cmdline()) or _is_supervised(process)
    except psutil.Error:
        return True
