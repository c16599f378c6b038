"""Child process that times imports, Prefect's server, model load and a flow."""

import importlib
import json
import pkgutil
import re
import sys
import time
from pathlib import Path
from typing import Any


def main(order: dict[str, Any]) -> None:
    """Run the flow of `order` and write the times to its answer file."""
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
    """Return the peak memory of this process in MiB.

    `resource.getrusage` would include the memory of the parent at the fork.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s+(\d+)", status)
    return int(found[1]) / 1_024 if found else 0.0


def _import(name: str) -> Any:
    """Import a flow and every module that its tasks import lazily."""
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
