"""The processes of a state folder, by the mark that `make up` gives them."""

from pathlib import Path

import psutil

from deployments.services.processes import MARK


def marked(home: Path) -> list[psutil.Process]:
    """Return the processes that carry the mark of a state folder."""
    return [process for process in psutil.process_iter() if _mark(process).endswith(f":{home}")]


def process_of(home: Path, service: str) -> psutil.Process:
    """Return the process of a service that the process manager watches."""
    found = (process for process in marked(home) if _is_watched(process))
    return next(process for process in found if _mark(process).startswith(f"{service}:"))


def runs_in(home: Path) -> list[psutil.Process]:
    """Return the processes of runs, whether their worker lives or not."""
    found = [process for process in marked(home) if _mark(process).startswith("worker:")]
    return [process for process in found if not _is_worker(process)]


def is_manager(process: psutil.Process) -> bool:
    """Return whether a process is the process manager."""
    return "supervisor.supervisord" in process.cmdline()


def kill_all(home: Path) -> None:
    """Kill everything at once, as a machine does that stops."""
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


def _is_watched(process: psutil.Process) -> bool:
    parent = process.parent()
    return parent is not None and is_manager(parent)


def _is_worker(process: psutil.Process) -> bool:
    try:
        return {"worker", "start"} <= set(process.cmdline()) or _is_watched(process)
    except psutil.Error:
        return True
