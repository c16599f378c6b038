"""What Prefect's server does by itself, with real runs and real kills; `make operation-test`."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from deployments.server.automations import DEFAULT_TIMEOUTS, Timeouts, create_automations
from tasks.common.settings import Settings
from tests.support.operation import Operation, rows_in, slow_scoring, until
from tests.support.processes import kill_all, process_of, runs_in
from tests.support.webhook import Webhook

pytestmark = pytest.mark.timeout(900)

# Prefect forgets, unless it is told otherwise, what it waited for until a minute ago.
OUTAGE_S = 60 + 12
PENDING = {"Pending", "Submitting", "InfrastructurePending"}
SCHEDULED = ("auto-scheduled",)  # the tag that the scheduler gives to the runs that it makes


@contextmanager
def automations(
    operation: Operation, timeouts: Timeouts = DEFAULT_TIMEOUTS, **settings: Any
) -> Iterator[None]:
    """Change what the server does by itself for a while."""
    usual = Settings()
    with (
        temporary_settings({PREFECT_API_URL: operation.api}),
        get_client(sync_client=True) as client,
    ):
        create_automations(client, usual.model_copy(update=settings), timeouts)
        yield
        create_automations(client, usual)


@pytest.fixture
def impatient(operation: Operation) -> Iterator[None]:
    """Automations that take a run for dead within seconds."""
    short = timedelta(seconds=10)  # Prefect takes no less
    with automations(operation, Timeouts(short, short, short)):
        yield


def test_a_run_that_takes_too_long_is_cancelled(operation: Operation, tmp_path: Path) -> None:
    with automations(operation, longest_run_hours=15 / 3600):
        run = operation.start("score-shards/score-files", slow_scoring(tmp_path))
        assert operation.wait_for(run)["name"] == "Cancelled"


@pytest.mark.parametrize("when", ["Pending", "Running"])
def test_a_run_that_died_with_its_worker_is_crashed_once_and_its_slot_is_free(
    operation: Operation, impatient: None, tmp_path: Path, when: str
) -> None:
    parameters = slow_scoring(tmp_path)
    run = operation.start("score-shards/nightly", parameters)
    operation.wait_for(run, {"Running"} if when == "Running" else PENDING)
    for process in [process_of(operation.home, "worker"), *runs_in(operation.home)]:
        process.kill()
    state = operation.wait_for(run)
    assert state["name"] == "Crashed"
    assert state["message"].endswith("its process died")

    small = rows_in(tmp_path / "in", "small")
    operation.complete("score-shards/nightly", parameters | {"inputs": [str(small)]})
    states = operation.get(f"/flow_run_states/?flow_run_id={run}")
    assert [state["name"] for state in states].count("Crashed") == 1


@pytest.mark.parametrize(
    ("deployment", "parameters", "state"),
    [
        ("score-shards/nightly", {"settle_seconds": 0, "batch_tokens": 32}, "CANCELLING"),
        # The automation has had its say before the process looks, and the run has one inside.
        ("end-to-end/train-and-score", {"steps": ["score"]}, "CANCELLED"),
    ],
)
def test_a_run_whose_worker_is_killed_goes_on_and_can_still_be_cancelled(
    operation: Operation,
    tmp_path: Path,
    deployment: str,
    parameters: dict[str, Any],
    state: str,
) -> None:
    given = slow_scoring(tmp_path)
    output = tmp_path / "out"
    parameters = parameters | {name: given[name] for name in ("inputs", "output_dir", "use_cache")}
    run = operation.start(deployment, parameters)
    until(lambda: list(output.glob("predictions/*")), "a first shard")
    process_of(operation.home, "worker").kill()
    shards = len(list(output.glob("predictions/*")))
    until(lambda: len(list(output.glob("predictions/*"))) > shards + 2, "more shards")
    (process,) = runs_in(operation.home)
    operation.set_state(run, state)
    until(lambda: not process.is_running(), "it has ended", 30)
    operation.wait_for(run, {"Cancelled", "Crashed"})
    small = {"inputs": [str(rows_in(tmp_path / "in", "small"))]}
    operation.complete(deployment, parameters | small)  # its slot and its folder are free


def test_a_cancelling_that_no_worker_ends_is_finished(operation: Operation) -> None:
    flow = operation.get("/flows/name/score-shards")["id"]
    with automations(operation, Timeouts(cancellation=timedelta(seconds=10))):
        run = operation.post("/flow_runs/", {"flow_id": flow}).json()["id"]
        operation.set_state(run, "RUNNING")
        operation.set_state(run, "CANCELLING")
        state = operation.wait_for(run)
    assert state["name"] == "Cancelled"
    assert state["message"] == "not cancelled by its worker after 10 s"


def test_a_run_that_lives_is_not_crashed_when_the_server_saw_half_of_its_start(
    operation: Operation,
) -> None:
    flow = operation.get("/flows/name/score-shards")["id"]
    with automations(operation, Timeouts(start=timedelta(seconds=25))):
        run = operation.post("/flow_runs/", {"flow_id": flow}).json()["id"]
        operation.set_state(run, "PENDING")
        pending = time.monotonic()
        operation.kill("prefect")
        operation.set_state(run, "RUNNING")
        while time.monotonic() < pending + 35:
            operation.emit(f"prefect.flow-run.{run}", "prefect.flow-run.heartbeat")
            time.sleep(2)
        assert operation.state(run)["name"] == "Running"
        operation.set_state(run, "COMPLETED")


def test_an_event_is_not_lost_while_the_database_is_busy(operation: Operation) -> None:
    flow = operation.get("/flows/name/score-shards")["id"]
    with automations(operation, Timeouts(start=timedelta(seconds=15))):
        run = operation.post("/flow_runs/", {"flow_id": flow}).json()["id"]
        operation.set_state(run, "PENDING")
        time.sleep(2)
        with closing(sqlite3.connect(operation.home / "prefect" / "prefect.db")) as database:
            database.execute("BEGIN IMMEDIATE")
            operation.emit(f"prefect.flow-run.{run}", "prefect.flow-run.heartbeat")
            time.sleep(3)
        time.sleep(20)
        assert operation.state(run)["name"] == "Pending"
        operation.set_state(run, "COMPLETED")


def test_an_outage_leaves_no_run_behind_and_no_slot_taken(
    operation: Operation, impatient: None, tmp_path: Path
) -> None:
    parameters = slow_scoring(tmp_path)
    small = {**parameters, "inputs": [str(rows_in(tmp_path / "in", "small"))]}
    run = operation.start("score-shards/nightly", parameters)
    operation.wait_for(run, {"Running"})
    due = operation.start(
        "score-shards/score-files",
        {**small, "output_dir": str(tmp_path / "late")},
        delay=30,
    )
    kill_all(operation.home)
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
    until(lambda: any(scheduled in str(notification) for notification in hook.received), "told")
    time.sleep(5)
    assert [by_hand in str(notification) for notification in hook.received].count(True) == 0
    subjects = [found["subject"] for found in hook.received if scheduled in found["body"]]
    name = operation.get(f"/flow_runs/{scheduled}")["name"]
    assert subjects == [f"score-shards: {name} Failed"]


def test_a_failed_run_of_an_event_is_told_once(operation: Operation, hook: Webhook) -> None:
    before = {run["id"] for run in operation.runs_of("score-shards/rescore")}
    operation.emit(
        "millstream.model.inference_pipeline_model",
        "millstream.pipeline.promoted",
        **{"millstream.model-uri": "models:/inference_pipeline_model/99"},
    )

    def started() -> set[str]:
        return {run["id"] for run in operation.runs_of("score-shards/rescore")} - before

    until(started, "started")
    (run,) = started()
    assert operation.wait_for(run)["name"] == "Failed"
    until(lambda: run in str(hook.received), "told", 30)
    time.sleep(5)
    assert str(hook.received).count(run) == 1


def test_a_failure_is_told_though_the_server_did_not_see_the_run_start(
    operation: Operation, hook: Webhook, tmp_path: Path
) -> None:
    run = operation.start("score-shards/score-files", slow_scoring(tmp_path), tags=SCHEDULED)
    operation.wait_for(run, {"Running"})
    operation.kill("prefect")
    (process,) = runs_in(operation.home)
    process.kill()
    assert operation.wait_for(run)["name"] == "Crashed"
    until(lambda: run in str(hook.received), "told", 30)


def test_a_webhook_that_refuses_leaves_its_address_in_no_log(
    operation: Operation, hook: Webhook, tmp_path: Path
) -> None:
    with automations(operation, notification_url=SecretStr(f"{hook.host}/hunter2?token=hunter3")):
        run = failed_run(operation, tmp_path / "out", tags=SCHEDULED)
        until(lambda: run in str(hook.refusals), "refused")
    with automations(operation, notification_url=SecretStr(f"{hook.host}/accepted")):
        pass  # as it was
    log = operation.home / "logs" / "prefect.log"
    until(lambda: f"404 Not Found' for url '{hook.host}/…'" in log.read_text(), "logged")
    for path in log.parent.iterdir():
        assert "hunter" not in path.read_text()


def failed_run(operation: Operation, output: Path, tags: tuple[str, ...] = ()) -> str:
    parameters = {"inputs": [str(output / "none")], "output_dir": str(output)}
    run = operation.start("score-shards/score-files", parameters, tags=tags)
    assert operation.wait_for(run)["name"] == "Failed"
    return run
