"""What is killed, interrupted or up already comes back, whole and once; `make operation-test`."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest

from deployments.services.definitions import worker_name
from deployments.services.lock import services_lock
from deployments.services.supervisor import Supervisor
from tasks.common.environment import environment_with
from tasks.common.settings import REPOSITORY
from tests.support.builders import Trained
from tests.support.operation import Operation, free_ports, in_operation, settings_of, until
from tests.support.processes import is_manager, kill_all, marked, process_of
from tests.support.scoring_command import state_folder

pytestmark = pytest.mark.timeout(900)

WAITING = "waiting for another make up or make down to end\n"


def test_servers_that_are_killed_come_back_and_slots_outlive_them(operation: Operation) -> None:
    slot = {"name": "outlives", "limit": 1}
    assert operation.post("/v2/concurrency_limits/", slot).is_success
    taken = operation.post(
        "/v2/concurrency_limits/increment-with-lease", {"names": ["outlives"], "slots": 1}
    )
    operation.kill("prefect", "mlflow")
    # As the engine of a run does, which ends the run if it is refused.
    lease = taken.json()["lease_id"]
    renewed = operation.post(f"/v2/concurrency_limits/leases/{lease}/renew", {})
    assert renewed.is_success, renewed.text


def test_what_a_kill_left_is_ended_by_the_next_up(operation: Operation) -> None:
    bystander = psutil.Popen(["sleep", "600"])
    try:
        manager = next(process for process in marked(operation.home) if is_manager(process))
        orphans = [process for process in marked(operation.home) if process != manager]
        manager.send_signal(signal.SIGKILL)
        until(lambda: not manager.is_running(), "killed")
        assert any(process.is_running() for process in orphans)
        assert operation.command("status").returncode == 3
        up = operation.command("up")
        assert up.returncode == 0, up.stderr
        assert "ended what was left from before" in up.stderr
        assert not any(process.is_running() for process in orphans)
        assert operation.command("status").returncode == 0
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@contextmanager
def server_elsewhere(folder: Path) -> Iterator[str]:
    """Run a Prefect server that no `make up` started, and yield the address of its API."""
    (port,) = free_ports(1)
    command = ("deployments.server.prefect_server", "server", "start", "--host", "127.0.0.1")
    process = subprocess.Popen(
        [sys.executable, "-m", *command, "--port", str(port)],
        cwd=REPOSITORY,
        env=environment_with({"MILLSTREAM_HOME": str(folder), "PREFECT_HOME": str(folder)}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    api = f"http://127.0.0.1:{port}/api"
    try:
        until(lambda: answers(f"{api}/health"), "the server answers", patience=180)
        yield api
    finally:
        process.terminate()
        process.wait(60)


def answers(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(url).is_success
    return False


def test_a_prefect_server_elsewhere_is_used_and_none_is_started(
    trained: Trained, tmp_path: Path
) -> None:
    home = state_folder(trained.home, tmp_path / "var")
    with (
        server_elsewhere(tmp_path / "elsewhere") as api,
        in_operation(home, PREFECT_API_URL=api) as other,
    ):
        assert {service.name for service in Supervisor(settings_of(other)).addresses} == {
            "mlflow",
            "worker",
        }
        for asked in (other, replace(other, variables={})):
            status = asked.command("status")
            assert status.returncode == 0, status.stderr
            assert status.stdout.count("works") == 2
        assert process_of(other.home, "worker").environ()["PREFECT_API_URL"] == api


def paths_of(operation: Operation) -> tuple[str, object]:
    """Return where the nightly scoring runs and what it reads."""
    found = operation.get("/deployments/name/score-shards/nightly")
    return found["path"], found["parameters"]


def test_a_server_that_another_folder_has_deployed_to_is_refused_by_name(
    operation: Operation, trained: Trained, tmp_path: Path
) -> None:
    home = state_folder(trained.home, tmp_path / "var")
    before = paths_of(operation)
    prefect_port, mlflow_port = free_ports(2)
    other = Operation(home, prefect_port, mlflow_port, {"PREFECT_API_URL": operation.api})
    try:
        up = other.command("up")
    finally:
        down = other.command("down")
    assert up.returncode == 2
    assert f"{operation.api} has the deployments of another machine or state folder" in up.stderr
    assert worker_name(settings_of(operation)) in up.stderr
    assert down.stdout == "nothing was up\n"
    assert paths_of(operation) == before
    assert operation.command("status").returncode == 0


def test_what_listens_on_the_old_port_after_a_kill_is_not_taken_for_ours(
    operation: Operation,
) -> None:
    kill_all(operation.home)
    moved = replace(operation, prefect_port=free_ports(1)[0])
    with socket.socket() as foreign:
        foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        foreign.bind(("127.0.0.1", operation.prefect_port))
        foreign.listen()
        up = moved.command("up")
        assert up.returncode == 0, up.stderr
        for service in ("prefect", "worker"):
            moved.kill(service)
            assert process_of(moved.home, service).environ()["PREFECT_API_URL"] == moved.api
    assert operation.command("down").returncode == 0


@pytest.mark.parametrize("command", ["down", "up"])
def test_of_two_at_once_one_waits_for_the_other(operation: Operation, command: str) -> None:
    with services_lock(settings_of(operation)):
        both = [operation.begin(command) for _ in range(2)]
        for each in both:
            assert each.stderr
            assert WAITING in iter(each.stderr.readline, "")
    said = [each.communicate(timeout=180)[1] for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    managers = [process for process in marked(operation.home) if is_manager(process)]
    assert len(managers) == ["down", "up"].index(command)


def test_up_waits_for_an_interrupted_down_and_down_for_up(operation: Operation) -> None:
    worker = process_of(operation.home, "worker")
    worker.suspend()  # so that its end takes a while
    down = operation.begin("down")
    until(lambda: Supervisor(settings_of(operation)).state == "ending", "it is ending")
    down.send_signal(signal.SIGINT)
    down.communicate(timeout=60)
    assert down.returncode == 130
    status = operation.command("status")
    assert (status.returncode, status.stdout) == (1, "all is being ended\n")

    up = operation.begin("up")
    time.sleep(5)  # by then it waits
    worker.resume()
    until(lambda: Supervisor(settings_of(operation)).state == "up", "it has started")
    again = operation.command("down")
    assert (again.returncode, again.stdout, again.stderr) == (0, "all is down\n", WAITING)
    _, said = up.communicate(timeout=10)
    assert up.returncode == 0, said
    assert marked(operation.home) == []


def test_up_that_is_interrupted_leaves_nothing_behind(operation: Operation) -> None:
    operation.command("down")
    up = operation.begin("up")
    until(lambda: any(is_manager(process) for process in marked(operation.home)), "started")
    up.send_signal(signal.SIGINT)
    _, said = up.communicate(timeout=120)
    assert up.returncode == 130
    assert said.splitlines()[-1] == "error: interrupted"
    assert marked(operation.home) == []
