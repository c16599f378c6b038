"""A state folder with everything up: real servers, a real worker, and the API to talk to them."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pandas as pd
import psutil

from deployments.leftovers import MARK
from tasks.settings import REPOSITORY
from tests.builders import HEEDING_INTERRUPTS

PATIENCE_S = 120.0
ANSWER_S = 90.0  # Prefect's server waits up to 60 s for its own database
FINAL = {"Completed", "Failed", "Crashed", "Cancelled", "TimedOut"}


@dataclass(frozen=True)
class Operation:
    """What `make up` runs for one state folder.

    Attributes:
        home: The state folder.
        prefect_port: Of Prefect's server.
        mlflow_port: Of MLflow's server.
        variables: Of the environment, beside those.
    """

    home: Path
    prefect_port: int
    mlflow_port: int
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.prefect_port}/api"

    def environment(self) -> dict[str, str]:
        ours = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PREFECT", "MLFLOW", "MILLSTREAM"))
        }
        return ours | {
            "MILLSTREAM_HOME": str(self.home),
            "PREFECT_PORT": str(self.prefect_port),
            "MLFLOW_PORT": str(self.mlflow_port),
            # Two processes with as many threads each as there are cores wait for each other.
            "OMP_NUM_THREADS": "1",
            **self.variables,
        }

    def command(self, name: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m deployments.<name>`, or `flows.<name>`, to its end."""
        room = "deployments" if name in ("up", "status", "down") else "flows"
        return subprocess.run(
            [sys.executable, "-m", f"{room}.{name}", *options],
            cwd=REPOSITORY,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=300,
        )

    def begin(self, name: str) -> subprocess.Popen[str]:
        """Start `python -m deployments.<name>` as a terminal would, so that it heeds Ctrl-C."""
        return subprocess.Popen(
            [*HEEDING_INTERRUPTS, sys.executable, "-m", f"deployments.{name}"],
            cwd=REPOSITORY,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def deploy(self, project_file: Path) -> None:
        """Deploy what a file of one's own has."""
        command = ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(project_file)]
        subprocess.run(
            [sys.executable, "-m", *command],
            cwd=REPOSITORY,
            env=self.environment() | {"PREFECT_API_URL": self.api},
            check=True,
            capture_output=True,
        )

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """Send a request, again while the server's database is busy, as Prefect's clients do."""
        return self._ask("POST", path, body)

    def emit(self, resource: str, event: str) -> None:
        """Send an event, as the process of a run does."""
        body = {
            "id": str(uuid4()),
            "occurred": datetime.now(UTC).isoformat(),
            "event": event,
            "resource": {"prefect.resource.id": resource},
        }
        httpx.post(f"{self.api}/events", json=[body], timeout=ANSWER_S).raise_for_status()

    def patch(self, path: str, body: dict[str, Any]) -> None:
        self._ask("PATCH", path, body).raise_for_status()

    def get(self, path: str) -> Any:
        found = httpx.get(f"{self.api}{path}", timeout=ANSWER_S)
        found.raise_for_status()
        return found.json()

    def _ask(self, method: str, path: str, body: dict[str, Any]) -> httpx.Response:
        for _ in range(10):
            answer = httpx.request(method, f"{self.api}{path}", json=body, timeout=ANSWER_S)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(1)
        return answer

    def submit(
        self,
        deployment: str,
        parameters: dict[str, Any],
        tags: tuple[str, ...] = (),
        delay: float = 0,
    ) -> httpx.Response:
        """Ask for a run in `delay` seconds, as the form in the UI does."""
        due = datetime.now(UTC) + timedelta(seconds=delay)
        found = self.get(f"/deployments/name/{deployment}")
        body = {
            "parameters": parameters,
            "tags": list(tags),
            "enforce_parameter_schema": True,
            "state": {
                "type": "SCHEDULED",
                "state_details": {"scheduled_time": due.isoformat()},
            },
        }
        return self.post(f"/deployments/{found['id']}/create_flow_run", body)

    def start(self, deployment: str, parameters: dict[str, Any], **arguments: Any) -> str:
        """Ask for a run, as `submit` does, and return its id."""
        submitted = self.submit(deployment, parameters, **arguments)
        assert submitted.is_success, submitted.text
        return str(submitted.json()["id"])

    def state(self, run: str) -> dict[str, Any]:
        state: dict[str, Any] = self.get(f"/flow_runs/{run}")["state"]
        return state

    def set_state(self, run: str, kind: str) -> None:
        body = {"state": {"type": kind, "name": kind.capitalize()}}
        self.post(f"/flow_runs/{run}/set_state", body).raise_for_status()

    def wait_for(
        self, run: str, states: set[str] = FINAL, patience: float = PATIENCE_S
    ) -> dict[str, Any]:
        """Wait until a run is in one of these states, and return it."""
        until(lambda: self.state(run)["name"] in states, f"{run}: {states}", patience)
        return self.state(run)

    def complete(self, deployment: str, parameters: dict[str, Any]) -> str:
        """Run a deployment to its good end and return the run's id."""
        run = self.start(deployment, parameters)
        state = self.wait_for(run)
        assert state["name"] == "Completed", f"{state['message']}\n{self.log_of(run)}"
        return run

    def runs_of(self, deployment: str) -> list[dict[str, Any]]:
        """Return the runs of a deployment, but for those that only wait for their time."""
        found = self.get(f"/deployments/name/{deployment}")
        body = {"deployments": {"id": {"any_": [found["id"]]}}, "limit": 200}
        runs: list[dict[str, Any]] = self.post("/flow_runs/filter", body).json()
        return [run for run in runs if run["state_type"] != "SCHEDULED"]

    def log_of(self, run: str) -> str:
        """Return the lines that the UI shows of a run."""
        lines: list[str] = []
        body: dict[str, Any] = {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200}
        while found := self.post("/logs/filter", body | {"offset": len(lines)}).json():
            lines += [f"{line['name']}: {line['message']}" for line in found]
        return "\n".join(lines)

    def artifacts_of(self, run: str) -> dict[str, dict[str, Any]]:
        """Return a run's artifacts by their keys."""
        body = {"artifacts": {"flow_run_id": {"any_": [run]}}}
        return {found["key"]: found for found in self.post("/artifacts/filter", body).json()}


@contextmanager
def in_operation(home: Path, **variables: str) -> Iterator[Operation]:
    """Bring a state folder up, and down at the end of the block."""
    prefect_port, mlflow_port = free_ports(2)
    operation = Operation(home, prefect_port, mlflow_port, variables)
    try:
        up = operation.command("up")
        assert up.returncode == 0, up.stdout + up.stderr
        yield operation
    finally:
        down = operation.command("down")
        assert down.returncode == 0, down.stdout + down.stderr


def marked(home: Path) -> list[psutil.Process]:
    """Return the processes that carry the mark of a state folder."""
    return [process for process in psutil.process_iter() if _mark(process).endswith(f":{home}")]


def process_of(operation: Operation, service: str) -> psutil.Process:
    """Return the process of a service that the process manager watches."""
    found = (process for process in marked(operation.home) if _is_watched(process))
    return next(process for process in found if _mark(process).startswith(f"{service}:"))


def runs_in(operation: Operation) -> list[psutil.Process]:
    """Return the processes of runs, whether their worker lives or not."""
    found = [process for process in marked(operation.home) if _mark(process).startswith("worker:")]
    return [process for process in found if not _is_worker(process)]


def is_manager(process: psutil.Process) -> bool:
    """Return whether a process is the process manager."""
    return "supervisor.supervisord" in process.cmdline()


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


@dataclass(frozen=True)
class Webhook:
    """A server for notifications.

    Attributes:
        host: Its address, without a path; `/told` is the one that it accepts.
        told: The JSON documents that were posted there.
        refusals: Those that were posted elsewhere, and answered with 404.
    """

    host: str
    told: list[Any]
    refusals: list[Any]


@contextmanager
def webhook() -> Iterator[Webhook]:
    """Yield a server on loopback that accepts notifications at one path, and no others."""
    told: list[Any] = []
    refusals: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            refused = self.path != "/told"
            (refusals if refused else told).append(document)
            self.send_response(404 if refused else 204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the base's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Webhook(f"http://127.0.0.1:{server.server_address[1]}", told, refusals)
        server.shutdown()


def rows_in(folder: Path, name: str, rows: int = 6) -> Path:
    """Write a file of short texts."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.csv"
    pd.DataFrame({"text": [f"{name} film {row}" for row in range(rows)]}).to_csv(path, index=False)
    return path


def free_ports(number: int) -> list[int]:
    """Return ports that nobody listens on."""
    probes = [socket.socket() for _ in range(number)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def until(holds: Callable[[], object], what: str, patience: float = PATIENCE_S) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {patience:.0f} s"
        time.sleep(0.2)
