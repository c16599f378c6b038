"""A machine that joins takes runs of another one's deployments, and registers nothing."""

import time
from pathlib import Path
from typing import Any

import pytest

from deployments.services.definitions import worker_name
from tests.support.builders import Trained
from tests.support.operation import (
    Operation,
    free_ports,
    in_operation,
    settings_of,
    slow_scoring,
    until,
)
from tests.support.processes import runs_in
from tests.support.scoring_command import state_folder

pytestmark = pytest.mark.timeout(900)


def deployments_of(operation: Operation) -> list[Any]:
    found = operation.post("/deployments/filter", {"limit": 100}).json()
    return sorted((one["id"], one["name"], one["path"], str(one["parameters"])) for one in found)


def running(operation: Operation, runs: list[str]) -> int:
    return sum(operation.state(run)["name"] == "Running" for run in runs)


def test_a_machine_joins_takes_runs_and_registers_nothing(trained: Trained, tmp_path: Path) -> None:
    home = state_folder(trained.home, tmp_path / "owner")
    limit = {"MILLSTREAM_CONCURRENT_RUNS": "1"}
    with in_operation(home, **limit) as owner:
        before = deployments_of(owner)
        prefect_port, mlflow_port = free_ports(2)
        addresses = {
            "PREFECT_API_URL": owner.api,
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{owner.mlflow_port}",
        }
        joined = Operation(tmp_path / "joined", prefect_port, mlflow_port, addresses | limit)
        refused = joined.command("up")
        assert refused.returncode == 2
        assert "or make up JOIN=1 to take its runs" in refused.stderr

        joining = Operation(
            tmp_path / "joined", prefect_port, mlflow_port, {**joined.variables, "JOIN": "1"}
        )
        try:
            up = joining.command("up")
            assert up.returncode == 0, up.stderr
            assert "deploying" not in up.stderr
            assert worker_name(settings_of(joined)) != worker_name(settings_of(owner))
            services = [line.split()[0] for line in up.stdout.splitlines()[:-1]]
            assert services == ["worker"]
            assert deployments_of(owner) == before
            # The variable is needed to start it, and not to look at it.
            assert joined.command("status").returncode == 0
            # Who registered the deployments may do so again.
            assert owner.command("up").returncode == 0
            assert [one[:3] for one in deployments_of(owner)] == [one[:3] for one in before]

            # Each machine has a run of its own at a time.
            runs = []
            for number in range(3):
                (tmp_path / f"{number}").mkdir()
                parameters = slow_scoring(tmp_path / f"{number}")
                runs.append(owner.start("score-shards/score-files", parameters))
            until(lambda: runs_in(owner.home) and runs_in(joining.home), "a run on each machine")
            until(lambda: running(owner, runs) == 2, "two runs")
            time.sleep(5)  # in which a worker looks twice for what it could start
            assert running(owner, runs) == 2
            for run in runs:
                owner.set_state(run, "CANCELLING")
            for run in runs:
                owner.wait_for(run)
        finally:
            down = joined.command("down")
        assert down.returncode == 0, down.stderr
        assert owner.command("status").returncode == 0


def test_what_cannot_join_is_refused_by_name(tmp_path: Path) -> None:
    prefect_port, mlflow_port = free_ports(2)
    alone = Operation(tmp_path / "home", prefect_port, mlflow_port, {"JOIN": "1"})
    up = alone.command("up")
    assert up.returncode == 2
    assert "error: JOIN: beside Prefect's server at http://127.0.0.1:" in up.stderr
    api = {"JOIN": "1", "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    up = Operation(tmp_path / "home", prefect_port, mlflow_port, api).command("up")
    assert up.returncode == 2
    assert "error: JOIN: beside MLflow at sqlite:///" in up.stderr
