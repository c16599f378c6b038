"""A child process: imports, starts Prefect's server, loads the model, calls a flow; tells when."""

import importlib
import json
import pkgutil
import re
import sys
import time
from pathlib import Path
from typing import Any


def main(order: dict[str, Any]) -> None:
    """Do what `order` says and write the times to the file it names."""
    marks = {"began": order["began"]}
    flow = _import(order["flow"])
    marks["imported"] = time.time()
    _start_server()
    marks["served"] = time.time()
    if order["load"]:
        _load(order["load"])
    marks["loaded"] = time.time()
    report = flow(**order["parameters"])
    marks["returned"] = time.time()
    answer = {"marks": marks, "report": report, "peak_mib": peak_mib()}
    Path(order["answer"]).write_text(json.dumps(answer), encoding="utf-8")


def peak_mib() -> float:
    """Return the most memory that this process has had.

    `resource.getrusage` would count what the parent had when it started this one.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s+(\d+)", status)
    return int(found[1]) / 1_024 if found else 0.0


def _import(name: str) -> Any:
    """Import a flow and every module that its tasks import later."""
    import tasks

    module = importlib.import_module(f"flows.{name}")
    for found in pkgutil.walk_packages(tasks.__path__, "tasks."):
        if found.name != "tasks.building.verification_script":  # a script
            importlib.import_module(found.name)
    return getattr(module, name)


def _start_server() -> None:
    from prefect.server.api.server import SubprocessASGIServer

    SubprocessASGIServer().start()


def _load(model_uri: str) -> None:
    from tasks.tracking.pipeline_loader import load_typed_pipeline

    load_typed_pipeline(model_uri)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
