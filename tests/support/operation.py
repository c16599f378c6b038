"""Run the services of `make up` for a test: commands, Prefect's API, runs, logs."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pandas as pd

from tasks.common.settings import REPOSITORY, Settings
from tests.support.builders import HEEDING_INTERRUPTS
from tests.support.processes import process_of

PATIENCE_S = 120.0
ANSWER_S = 90.0  # a write waits up to 60 s for a locked database
FINAL = {"Completed", "Failed", "Crashed", "Cancelled", "TimedOut"}


@dataclass(frozen=True)
class Operation:
    """The services of a state folder.

    Attributes:
        home: The state folder.
        prefect_port: Port of Prefect's server.
        mlflow_port: Port of MLflow's server.
        variables: Other environment variables.
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
            "MILLSTREAM_PROJECT": os.devnull,
            "PREFECT_PORT": str(self.prefect_port),
            "MLFLOW_PORT": str(self.mlflow_port),
            "SERVE": "0",  # a process with a model, which few tests need
            # Several processes with a thread a core slow each other down.
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
        """Start `python -m deployments.<name>` so that it heeds SIGINT, as in a terminal."""
        return subprocess.Popen(
            [*HEEDING_INTERRUPTS, sys.executable, "-m", f"deployments.{name}"],
            cwd=REPOSITORY,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill(self, *services: str) -> None:
        """Kill services, and wait until the process manager has restarted them."""
        killed = [process_of(self.home, service) for service in services]
        for process in killed:
            process.kill()
        until(lambda: not any(process.is_running() for process in killed), "killed")
        until(lambda: self.command("status").returncode == 0, f"{services} are back")

    def deploy(self, prefect_file: Path) -> None:
        """Run `prefect deploy --all` on another project file."""
        command = ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(prefect_file)]
        subprocess.run(
            [sys.executable, "-m", *command],
            cwd=REPOSITORY,
            env=self.environment() | {"PREFECT_API_URL": self.api},
            check=True,
            capture_output=True,
        )

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return httpx.post(f"{self.api}{path}", json=body, timeout=ANSWER_S)

    def emit(self, resource: str, event: str, **labels: str) -> None:
        """Send an event to the server."""
        body = {
            "id": str(uuid4()),
            "occurred": datetime.now(UTC).isoformat(),
            "event": event,
            "resource": {"prefect.resource.id": resource, **labels},
        }
        httpx.post(f"{self.api}/events", json=[body], timeout=ANSWER_S).raise_for_status()

    def patch(self, path: str, body: dict[str, Any]) -> None:
        httpx.patch(f"{self.api}{path}", json=body, timeout=ANSWER_S).raise_for_status()

    def get(self, path: str) -> Any:
        found = httpx.get(f"{self.api}{path}", timeout=ANSWER_S)
        found.raise_for_status()
        return found.json()

    def submit(
        self,
        deployment: str,
        parameters: dict[str, Any],
        tags: tuple[str, ...] = (),
        delay: float = 0,
    ) -> httpx.Response:
        """Request a run in `delay` seconds, like the form in the UI."""
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
        """Request a run, and return its id; the arguments are those of `submit`."""
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
        """Wait for one of these states of a run, and return it."""
        until(lambda: self.state(run)["name"] in states, f"{run}: {states}", patience)
        return self.state(run)

    def complete(self, deployment: str, parameters: dict[str, Any]) -> str:
        """Run a deployment to completion, and return the run's id."""
        run = self.start(deployment, parameters)
        state = self.wait_for(run)
        assert state["name"] == "Completed", f"{state['message']}\n{self.log_of(run)}"
        return run

    def runs_of(self, deployment: str) -> list[dict[str, Any]]:
        """Return the runs of a deployment that are not just scheduled."""
        found = self.get(f"/deployments/name/{deployment}")
        body = {"deployments": {"id": {"any_": [found["id"]]}}, "limit": 200}
        runs: list[dict[str, Any]] = self.post("/flow_runs/filter", body).json()
        return [run for run in runs if run["state_type"] != "SCHEDULED"]

    def log_of(self, run: str) -> str:
        """Return the log lines of a run."""
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
    """Run `make up`, and `make down` at the end of the block."""
    prefect_port, mlflow_port = free_ports(2)
    operation = Operation(home, prefect_port, mlflow_port, variables)
    try:
        up = operation.command("up")
        assert up.returncode == 0, up.stdout + up.stderr
        yield operation
    finally:
        down = operation.command("down")
        assert down.returncode == 0, down.stdout + down.stderr


def rows_in(folder: Path, name: str, rows: int = 6) -> Path:
    """Write a file of short texts."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.csv"
    pd.DataFrame({"text": [f"{name} film {row}" for row in range(rows)]}).to_csv(path, index=False)
    return path


def free_ports(number: int) -> list[int]:
    """Return free ports."""
    probes = [socket.socket() for _ in range(number)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def until(holds: Callable[[], object], what: str, patience: float = PATIENCE_S) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {patience:.0f} s"
        time.sleep(0.2)


def slow_scoring(folder: Path) -> dict[str, Any]:
    """Parameters of a run that takes minutes."""
    return {
        "inputs": [str(rows_in(folder / "in", "many", rows=600_000))],
        "output_dir": str(folder / "out"),
        "batch_tokens": 32,
        "use_cache": False,
    }


def settings_of(operation: Operation) -> Settings:
    return Settings().model_copy(update={"home": operation.home})
