"""What happens while everything is up: overlaps, reruns, events, kills; `make operation-test`.

Nothing is made up: the servers, the worker, its runs and what kills them are real.
"""

import json
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from deployments.automations import USUAL_PATIENCE, Patience, create_automations
from deployments.check_config import PROJECT_FILE
from deployments.one_at_a_time import alone
from deployments.registering import register
from deployments.supervision import Supervisor
from tasks.settings import Settings
from tests.builders import Trained
from tests.faults.scoring_command import state_folder
from tests.operation import (
    Operation,
    Webhook,
    free_ports,
    in_operation,
    is_manager,
    marked,
    process_of,
    rows_in,
    runs_in,
    until,
)

pytestmark = pytest.mark.timeout(900)

# Prefect forgets, unless it is told otherwise, what it waited for until a minute ago.
OUTAGE_S = 60 + 12
PENDING = {"Pending", "Submitting", "InfrastructurePending"}
WAITING = "waiting for another make up or make down to end\n"
SCHEDULED = ("auto-scheduled",)  # the tag that the scheduler gives to the runs that it makes


def test_servers_that_are_killed_come_back_and_slots_outlive_them(operation: Operation) -> None:
    slot = {"name": "outlives", "limit": 1}
    assert operation.post("/v2/concurrency_limits/", slot).is_success
    taken = operation.post(
        "/v2/concurrency_limits/increment-with-lease", {"names": ["outlives"], "slots": 1}
    )
    servers = [process_of(operation, service) for service in ("prefect", "mlflow")]
    for server in servers:
        server.kill()
    until(lambda: not any(server.is_running() for server in servers), "killed")
    until(lambda: operation.command("status").returncode == 0, "both are back")
    # As the engine of a run does, which ends the run if it is refused.
    lease = taken.json()["lease_id"]
    renewed = operation.post(f"/v2/concurrency_limits/leases/{lease}/renew", {})
    assert renewed.is_success, renewed.text


def test_the_run_that_loses_an_output_folder_ends_cancelled_and_disturbs_no_one(
    operation: Operation, tmp_path: Path
) -> None:
    parameters = slow_scoring(tmp_path)
    first = operation.start("score-shards/on-demand", parameters)
    until((tmp_path / "out" / ".lock.json").exists, "the first run has the folder")
    second = operation.start("score-shards/on-demand", parameters)
    state = operation.wait_for(second)
    assert state["name"] == "Cancelled"
    assert f"{tmp_path / 'out'} is in use by run" in state["message"]
    assert "Traceback" not in operation.log_of(second)
    assert operation.state(first)["name"] == "Running"

    started = time.monotonic()
    operation.set_state(first, "CANCELLING")
    assert operation.wait_for(first)["name"] == "Cancelled"
    assert time.monotonic() - started < 30  # on busy cores; the bench measures it


def test_a_run_again_does_the_rest_and_only_failed_just_that(
    operation: Operation, tmp_path: Path
) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    good, bad = rows_in(folder, "good"), folder / "bad.csv"
    bad.write_text("no column\n1\n")
    parameters: dict[str, Any] = {"inputs": [str(folder)], "output_dir": str(output)}

    failed = operation.start("score-shards/on-demand", parameters)
    assert operation.wait_for(failed)["name"] == "Failed"
    written = {path.name: path.stat().st_mtime_ns for path in output.glob("predictions/*")}

    rows_in(folder, "new")
    rows_in(folder, "bad")
    again = operation.complete("score-shards/on-demand", parameters | {"only_failed": True})
    summary = operation.artifacts_of(again)["scoring-summary"]["data"]
    assert "new: 1" in summary  # left, because it never failed
    scored = sorted(path.name.split("-")[0] for path in output.glob("predictions/*"))
    assert scored == ["bad", "good"]

    # As the button Retry in the UI does it.
    operation.set_state(failed, "SCHEDULED")
    until(lambda: operation.get(f"/flow_runs/{failed}")["run_count"] == 2, "it runs again")
    assert operation.wait_for(failed)["name"] == "Completed"
    assert len(list(output.glob("predictions/*"))) == 3
    for name, when in written.items():
        assert (output / "predictions" / name).stat().st_mtime_ns == when
    assert good.exists()


def test_each_new_champion_has_the_inbox_scored_again_once_with_its_version(
    operation: Operation,
) -> None:
    def rescored() -> list[str]:
        return [run["state_name"] for run in operation.runs_of("score-shards/rescore")]

    def given() -> Counter[str]:
        runs = operation.runs_of("score-shards/rescore")
        return Counter(run["parameters"]["model_uri"] for run in runs)

    def scored_by() -> str:
        manifest = operation.home / "scored" / "inbox" / "manifest.json"
        return str(json.loads(manifest.read_text())["summary"]["model_uri"])

    earlier = time.time() - 600  # not as if somebody were writing
    os.utime(rows_in(operation.home / "inbox", "letter"), (earlier, earlier))
    before, given_before = len(rescored()), given()
    operation.complete(
        "build-inference-pipeline/rebuild-and-promote", {"finetuned_model": "1", "max_tokens": 24}
    )
    until(lambda: rescored() == ["Completed"] * (before + 1), "re-scoring")
    built = scored_by()
    assert built.removeprefix("models:/inference_pipeline_model/") not in ("", "1")

    # A command uses the server that is up, so that its events arrive as well. The first promotes
    # the champion that it is already; of the others, the second does not wait for the re-scoring.
    for version in (built, "1", built):
        assert operation.command("promote_pipeline", "--version", version).returncode == 0
    until(lambda: rescored() == ["Completed"] * (before + 3), "re-scoring")
    assert scored_by() == built
    time.sleep(5)
    assert given() - given_before == {built: 2, "models:/inference_pipeline_model/1": 1}


def test_what_the_project_file_no_longer_has_is_removed_and_what_others_made_stays(
    operation: Operation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MILLSTREAM_HOME", str(operation.home))  # the file takes it from there
    settings = settings_of(operation)
    project = yaml.safe_load(PROJECT_FILE.read_text())
    rescore = next(found for found in project["deployments"] if found["name"] == "rescore")
    (trigger,) = rescore["triggers"]
    schedule = {"slug": "old", "cron": "0 2 * * *", "timezone": "Etc/UTC"}
    old = rescore | {
        "name": "old",
        "schedules": [schedule],
        "triggers": [trigger | {"name": "old trigger"}],
    }
    files = {name: tmp_path / f"{name}.yaml" for name in ("with-old", "by-hand")}
    with_old = project | {"deployments": [*project["deployments"], old]}
    files["with-old"].write_text(yaml.safe_dump(with_old))
    files["by-hand"].write_text(
        yaml.safe_dump(project | {"deployments": [rescore | {"name": "mine", "triggers": []}]})
    )

    def names() -> set[str]:
        return {found["name"] for found in operation.post("/deployments/filter", {}).json()}

    def triggers() -> set[str]:
        return {found["name"] for found in operation.post("/automations/filter", {}).json()}

    operation.deploy(files["by-hand"])
    register(operation.api, settings, files["with-old"])
    assert {"old", "mine"} <= names()
    assert "old trigger" in triggers()
    register(operation.api, settings)
    assert "mine" in names()
    assert "old" not in names()
    assert triggers().isdisjoint({"old trigger"})
    removed = "removed the deployment old of flows/score_shards.py:score_shards, which prefect.yaml"
    assert removed in capsys.readouterr().err


@contextmanager
def automations(
    operation: Operation, patience: Patience = USUAL_PATIENCE, **settings: Any
) -> Iterator[None]:
    """Change what the server does by itself for a while."""
    usual = Settings()
    with (
        temporary_settings({PREFECT_API_URL: operation.api}),
        get_client(sync_client=True) as client,
    ):
        create_automations(client, usual.model_copy(update=settings), patience)
        yield
        create_automations(client, usual)


@pytest.fixture
def impatient(operation: Operation) -> Iterator[None]:
    """Automations that take a run for dead within seconds."""
    short = timedelta(seconds=10)  # Prefect takes no less
    with automations(operation, Patience(short, short, short)):
        yield


def kill_all(operation: Operation) -> None:
    """Kill everything at once, as a machine does that stops."""
    processes = marked(operation.home)
    for process in processes:
        process.kill()
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert alive == []


def settings_of(operation: Operation) -> Settings:
    return Settings().model_copy(update={"home": operation.home})


def slow_scoring(folder: Path) -> dict[str, Any]:
    """Parameters of a run that takes minutes."""
    return {
        "inputs": [str(rows_in(folder / "in", "many", rows=200_000))],
        "output_dir": str(folder / "out"),
        "batch_tokens": 32,
        "use_cache": False,
    }


def test_a_run_that_takes_too_long_is_cancelled(operation: Operation, tmp_path: Path) -> None:
    with automations(operation, longest_run_hours=15 / 3600):
        run = operation.start("score-shards/on-demand", slow_scoring(tmp_path))
        assert operation.wait_for(run)["name"] == "Cancelled"


@pytest.mark.parametrize("when", ["Pending", "Running"])
def test_a_run_that_died_with_its_worker_is_crashed_once_and_its_slot_is_free(
    operation: Operation, impatient: None, tmp_path: Path, when: str
) -> None:
    parameters = slow_scoring(tmp_path)
    run = operation.start("score-shards/nightly", parameters)
    operation.wait_for(run, {"Running"} if when == "Running" else PENDING)
    for process in [process_of(operation, "worker"), *runs_in(operation)]:
        process.kill()
    state = operation.wait_for(run)
    assert state["name"] == "Crashed"
    assert state["message"].endswith("its process died")

    small = rows_in(tmp_path / "in", "small")
    operation.complete("score-shards/nightly", parameters | {"inputs": [str(small)]})
    states = operation.get(f"/flow_run_states/?flow_run_id={run}")
    assert [state["name"] for state in states].count("Crashed") == 1


def test_a_run_whose_worker_is_killed_goes_on_and_can_still_be_cancelled(
    operation: Operation, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    run = operation.start("score-shards/nightly", {**slow_scoring(tmp_path), "settle_seconds": 0})
    until(lambda: list(output.glob("predictions/*")), "a first shard")
    process_of(operation, "worker").kill()
    shards = len(list(output.glob("predictions/*")))
    until(lambda: len(list(output.glob("predictions/*"))) > shards + 2, "more shards")
    (process,) = runs_in(operation)
    operation.set_state(run, "CANCELLING")
    until(lambda: not process.is_running(), "it has ended", 30)
    assert operation.wait_for(run)["message"] == "Execution was aborted by a termination signal."
    small = {"inputs": [str(rows_in(tmp_path / "in", "small"))], "output_dir": str(output)}
    operation.complete("score-shards/nightly", small)  # its slot and its folder are free


def test_a_run_that_lives_is_not_crashed_when_the_server_saw_half_of_its_start(
    operation: Operation,
) -> None:
    flow = operation.get("/flows/name/score-shards")["id"]
    with automations(operation, Patience(start=timedelta(seconds=25))):
        run = operation.post("/flow_runs/", {"flow_id": flow}).json()["id"]
        operation.set_state(run, "PENDING")
        pending = time.monotonic()
        server = process_of(operation, "prefect")
        server.kill()
        until(lambda: not server.is_running(), "killed")
        until(lambda: operation.command("status").returncode == 0, "prefect is back")
        operation.set_state(run, "RUNNING")
        while time.monotonic() < pending + 35:
            operation.emit(f"prefect.flow-run.{run}", "prefect.flow-run.heartbeat")
            time.sleep(2)
        assert operation.state(run)["name"] == "Running"
        operation.set_state(run, "COMPLETED")


def test_an_outage_leaves_no_run_behind_and_no_slot_taken(
    operation: Operation, impatient: None, tmp_path: Path
) -> None:
    parameters = slow_scoring(tmp_path)
    small = {**parameters, "inputs": [str(rows_in(tmp_path / "in", "small"))]}
    run = operation.start("score-shards/nightly", parameters)
    operation.wait_for(run, {"Running"})
    due = operation.start(
        "score-shards/on-demand",
        {**small, "output_dir": str(tmp_path / "late")},
        delay=30,
    )
    kill_all(operation)
    time.sleep(OUTAGE_S)
    up = operation.command("up")
    assert up.returncode == 0, up.stderr

    state = operation.wait_for(run)
    assert state["name"] == "Crashed"
    assert state["message"].endswith("its process died")
    assert operation.wait_for(due)["name"] == "Completed"
    operation.complete("score-shards/nightly", small)


def test_a_failed_scheduled_run_is_told_once_and_others_are_not(
    operation: Operation, hook: Webhook, tmp_path: Path
) -> None:
    by_hand = failed_run(operation, tmp_path / "by-hand")
    scheduled = failed_run(operation, tmp_path / "scheduled", tags=SCHEDULED)
    until(lambda: any(scheduled in str(notification) for notification in hook.told), "told")
    time.sleep(5)
    assert [by_hand in str(notification) for notification in hook.told].count(True) == 0
    subjects = [found["subject"] for found in hook.told if scheduled in found["body"]]
    name = operation.get(f"/flow_runs/{scheduled}")["name"]
    assert subjects == [f"score-shards: {name} Failed"]


def test_a_webhook_that_refuses_leaves_its_address_in_no_log(
    operation: Operation, hook: Webhook, tmp_path: Path
) -> None:
    with automations(operation, notification_url=SecretStr(f"{hook.host}/hunter2?token=hunter3")):
        run = failed_run(operation, tmp_path / "out", tags=SCHEDULED)
        until(lambda: run in str(hook.refusals), "refused")
    with automations(operation, notification_url=SecretStr(f"{hook.host}/told")):
        pass  # as it was
    log = operation.home / "logs" / "prefect.log"
    until(lambda: f"404 Not Found' for url '{hook.host}/…'" in log.read_text(), "logged")
    for path in log.parent.iterdir():
        assert "hunter" not in path.read_text()


def failed_run(operation: Operation, output: Path, tags: tuple[str, ...] = ()) -> str:
    parameters = {"inputs": [str(output / "none")], "output_dir": str(output)}
    run = operation.start("score-shards/on-demand", parameters, tags=tags)
    assert operation.wait_for(run)["name"] == "Failed"
    return run


def test_what_a_kill_left_is_ended_by_the_next_up(operation: Operation) -> None:
    bystander = psutil.Popen(["sleep", "600"])
    try:
        manager = next(process for process in marked(operation.home) if is_manager(process))
        orphans = [process for process in marked(operation.home) if process != manager]
        manager.send_signal(signal.SIGKILL)
        until(lambda: not manager.is_running(), "killed")
        assert any(process.is_running() for process in orphans)
        assert operation.command("status").returncode == 1
        up = operation.command("up")
        assert up.returncode == 0, up.stderr
        assert "ended what was left from before" in up.stderr
        assert not any(process.is_running() for process in orphans)
        assert operation.command("status").returncode == 0
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_prefect_server_elsewhere_is_used_and_none_is_started(
    operation: Operation, trained: Trained, tmp_path: Path
) -> None:
    home = state_folder(trained.home, tmp_path / "var")
    with in_operation(home, PREFECT_API_URL=operation.api) as other:
        assert {service.name for service in Supervisor(settings_of(other)).places} == {
            "mlflow",
            "worker",
        }
        for asked in (other, replace(other, variables={})):
            status = asked.command("status")
            assert status.returncode == 0, status.stderr
            assert status.stdout.count("works") == 2
        assert process_of(other, "worker").environ()["PREFECT_API_URL"] == operation.api
    assert operation.command("status").returncode == 0


def test_what_listens_on_the_old_port_after_a_kill_is_not_taken_for_ours(
    operation: Operation,
) -> None:
    kill_all(operation)
    moved = replace(operation, prefect_port=free_ports(1)[0])
    with socket.socket() as foreign:
        foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        foreign.bind(("127.0.0.1", operation.prefect_port))
        foreign.listen()
        up = moved.command("up")
        assert up.returncode == 0, up.stderr
        for service in ("prefect", "worker"):
            killed = process_of(moved, service)
            killed.kill()
            until(lambda: not killed.is_running(), "killed")  # noqa: B023 -- called at once
            until(lambda: moved.command("status").returncode == 0, f"{service} is back")
            assert process_of(moved, service).environ()["PREFECT_API_URL"] == moved.api
    assert operation.command("down").returncode == 0


@pytest.mark.parametrize("command", ["down", "up"])
def test_of_two_at_once_one_waits_for_the_other(operation: Operation, command: str) -> None:
    with alone(settings_of(operation)):
        both = [operation.begin(command) for _ in range(2)]
        for each in both:
            assert each.stderr
            assert each.stderr.readline() == WAITING
    said = [each.communicate(timeout=180)[1] for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    managers = [process for process in marked(operation.home) if is_manager(process)]
    assert len(managers) == ["down", "up"].index(command)


def test_up_waits_for_an_interrupted_down_and_down_for_up(operation: Operation) -> None:
    worker = process_of(operation, "worker")
    worker.suspend()  # so that its end takes a while
    down = operation.begin("down")
    until(lambda: Supervisor(settings_of(operation)).condition == "ending", "it is ending")
    down.send_signal(signal.SIGINT)
    down.communicate(timeout=60)
    assert down.returncode == 130
    status = operation.command("status")
    assert (status.returncode, status.stdout) == (1, "all is being ended\n")

    up = operation.begin("up")
    time.sleep(5)  # by then it waits
    worker.resume()
    until(lambda: Supervisor(settings_of(operation)).condition == "up", "it has started")
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
