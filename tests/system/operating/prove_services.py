"""`make up`, `make status`, `make down`, and runs between them; `make operation-test`.

Nothing is made up: the servers and the worker are real.
"""

import socket
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pandas as pd
import psutil
import pytest

from deployments.services.definitions import POOL
from tests.support.builders import Trained
from tests.support.operation import FINAL, Operation, free_ports, in_operation, rows_in, until
from tests.support.processes import marked, process_of
from tests.support.scoring_command import state_folder

pytestmark = pytest.mark.timeout(900)

WRITERS = 20  # more than the server has connections
STANDSTILL_S = 20  # less than it waits for one, or for SQLite
QUEUE = f"/work_pools/{POOL}/queues/default"


# Servers


def test_status_names_what_works_and_where(operation: Operation) -> None:
    status = operation.command("status")
    assert status.returncode == 0
    for port in (operation.prefect_port, operation.mlflow_port):
        assert f"http://127.0.0.1:{port}" in status.stdout
    assert status.stdout.count("works") == 3


def test_nothing_listens_but_on_loopback(operation: Operation) -> None:
    addresses = {
        connection.laddr.ip
        for process in marked(operation.home)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}


def test_the_user_interfaces_answer_on_ports_of_ones_own(operation: Operation) -> None:
    prefect, mlflow = (
        f"http://127.0.0.1:{port}" for port in (operation.prefect_port, operation.mlflow_port)
    )
    assert httpx.get(f"{prefect}/ui-settings").json()["api_url"] == "/api"
    for address in (prefect, mlflow):
        page = httpx.get(address, follow_redirects=True)
        assert page.is_success
        assert "<html" in page.text.lower()


def test_many_write_at_once_and_the_server_stands_still_for_nobody(operation: Operation) -> None:
    flow = operation.post("/flows/", {"name": "written-at-once"}).json()["id"]

    def write(_: int) -> set[int]:
        answers = [operation.post("/flow_runs/", {"flow_id": flow}) for _ in range(20)]
        return {answer.status_code for answer in answers}

    with ThreadPoolExecutor(WRITERS) as pool:
        writing = [pool.submit(write, writer) for writer in range(WRITERS)]
        while not all(future.done() for future in writing):
            httpx.get(f"{operation.api}/health", timeout=STANDSTILL_S).raise_for_status()
            # The server reads a queue in another session before it commits that it is paused.
            for is_paused in (True, False):
                operation.patch(QUEUE, {"is_paused": is_paused})
                assert operation.get(QUEUE)["is_paused"] is is_paused
    assert set().union(*(future.result() for future in writing)) == {httpx.codes.CREATED}


def test_online_serving_waits_for_a_champion_and_is_started_again(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    with in_operation(tmp_path / "var", SERVE="1", SERVE_PORT=str(port)) as operation:
        assert f"serve    works    {address}" in operation.command("status").stdout
        waits = httpx.get(f"{address}/health")
        assert waits.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert "nothing is registered" in waits.json()["error"]
        process_of(operation.home, "serve").kill()

        def is_back() -> bool:
            with suppress(httpx.TransportError):
                return httpx.get(f"{address}/version").is_success
            return False

        until(lambda: not is_back(), "the end of the server")
        until(is_back, "another server")


def test_others_need_a_token_before_anything_is_started(tmp_path: Path) -> None:
    prefect_port, mlflow_port = free_ports(2)
    variables = {"SERVE": "1", "MILLSTREAM_HOST": "0.0.0.0"}
    up = Operation(tmp_path, prefect_port, mlflow_port, variables).command("up")
    assert up.returncode == 2
    assert "MILLSTREAM_SERVE_TOKEN: missing" in up.stderr
    assert "SERVE=0" in up.stderr
    assert not (tmp_path / "services").exists()


def test_up_once_more_changes_nothing(operation: Operation) -> None:
    def made() -> list[tuple[str, str]]:
        found = operation.post("/automations/filter", {}).json()
        return sorted((automation["id"], automation["updated"]) for automation in found)

    automations_before = made()
    before = {service: process_of(operation.home, service).pid for service in ("prefect", "worker")}
    assert operation.command("up").returncode == 0
    # Those of the deployments' triggers are Prefect's to make anew.
    assert len(set(made()) & set(automations_before)) == len(automations_before) - 1
    other = replace(operation, mlflow_port=operation.mlflow_port + 1)
    refused = other.command("up")
    assert refused.returncode == 2
    assert "make down before" in refused.stderr
    assert other.command("status").returncode == 0  # it knows where things are
    assert before == {service: process_of(operation.home, service).pid for service in before}


def test_schedules_make_runs_with_their_own_parameters(operation: Operation) -> None:
    nightly = operation.get("/deployments/name/score-shards/nightly")["id"]
    body = {"deployments": {"id": {"any_": [nightly]}}, "limit": 1}
    until(lambda: operation.post("/flow_runs/filter", body).json(), "a run for the next night")
    (run,) = operation.post("/flow_runs/filter", body).json()
    assert run["expected_start_time"][11:16] == "01:00"
    assert run["parameters"]["settle_seconds"] == 300
    assert run["parameters"]["model_uri"] == "models:/inference_pipeline_model@champion"
    assert run["parameters"]["inputs"] == [f"{operation.home}/inbox"]


def test_up_switches_a_schedule_on_that_was_switched_off(operation: Operation) -> None:
    nightly = operation.get("/deployments/name/score-shards/nightly")
    (schedule,) = nightly["schedules"]
    operation.patch(f"/deployments/{nightly['id']}/schedules/{schedule['id']}", {"active": False})
    assert operation.command("up").returncode == 0
    (schedule,) = operation.get("/deployments/name/score-shards/nightly")["schedules"]
    assert schedule["active"]
    assert schedule["parameters"] == {"model_uri": "models:/inference_pipeline_model@champion"}


# Runs


def test_a_run_shows_its_progress_its_log_and_its_summary(
    operation: Operation, tmp_path: Path
) -> None:
    secret = "words of a row that no log may have"
    folder = tmp_path / "in"
    folder.mkdir()
    pd.DataFrame({"text": [secret, None, "a film"]}).to_csv(folder / "a.csv", index=False)
    output = tmp_path / "out"
    run = operation.complete(
        "score-shards/score-files", {"inputs": [str(folder)], "output_dir": str(output)}
    )
    # Lines are sent in batches, the last of them after the run's end.
    until(lambda: "tasks.scoring.planning: 1 shard (new: 1)" in operation.log_of(run), "the log")
    log = operation.log_of(run)
    assert secret not in log
    assert secret not in (output / "manifest.json").read_text()
    artifacts = operation.artifacts_of(run)
    assert artifacts["scoring-progress"]["data"] == 100
    assert "3 of 3 rows" in artifacts["scoring-progress"]["description"]
    assert "scoring-summary" in artifacts


def test_a_row_explained_by_the_worker_leaves_no_text_in_a_log(
    operation: Operation, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    (tmp_path / "a.csv").write_text("text\nXylophon words of a row\nXylophon,surplus\n")
    operation.complete(
        "score-shards/score-files", {"inputs": [str(tmp_path / "a.csv")], "output_dir": str(output)}
    )
    (record,) = (output / "records").iterdir()
    runs = [
        operation.complete(
            "explain-prediction/explain-row",
            {"output_dir": str(output), "shard": record.stem, "row": row},
        )
        for row in (1, 2)
    ]
    logs = operation.home / "logs"
    shard = f"shard: {record.stem}"
    until(lambda: all(shard in operation.log_of(run) for run in runs), "the chain")
    assert [path.name for path in logs.iterdir() if "Xylophon" in path.read_text()] == []
    assert not any("Xylophon" in operation.log_of(run) for run in runs)


def test_progress_moves_while_a_run_is_under_way(operation: Operation, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    rows_in(folder, "many", rows=20_000)
    parameters = {"inputs": [str(folder)], "output_dir": str(tmp_path / "out"), "shard_rows": 500}
    run = operation.start("score-shards/score-files", parameters)
    seen: list[float] = []

    def is_done() -> bool:
        progress = operation.artifacts_of(run).get("scoring-progress")
        seen.append(progress["data"] if progress else 0)
        return operation.state(run)["name"] in FINAL

    until(is_done, f"{run}: its end")
    assert operation.state(run)["name"] == "Completed"
    assert seen == sorted(seen)
    assert any(0 < percent < 100 for percent in seen)


def test_the_form_refuses_bad_values_by_the_name_of_their_field(operation: Operation) -> None:
    submitted = operation.submit(
        "score-shards/score-files", {"inputs": ["in"], "output_dir": "out", "shard_rows": 0}
    )
    assert submitted.status_code in (409, 422)
    assert "shard_rows" in submitted.text


# Ends


@pytest.mark.parametrize("variable", ["PREFECT_PORT", "MLFLOW_PORT"])
def test_a_taken_port_is_named_before_anything_is_started(tmp_path: Path, variable: str) -> None:
    home = tmp_path / "var"
    home.mkdir()
    prefect_port, mlflow_port = free_ports(2)
    port = {"PREFECT_PORT": prefect_port, "MLFLOW_PORT": mlflow_port}[variable]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        up = Operation(home, prefect_port, mlflow_port).command("up")
    assert up.returncode == 2
    assert f"{variable}: 127.0.0.1:{port} cannot be listened on" in up.stderr
    assert not (home / "services").exists()
    assert marked(home) == []


def test_one_port_for_both_servers_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "var"
    home.mkdir()
    (port,) = free_ports(1)
    up = Operation(home, port, port).command("up")
    assert up.returncode == 2
    assert f"MLFLOW_PORT: {port} is PREFECT_PORT as well; expected another" in up.stderr
    assert marked(home) == []


def test_a_database_of_another_mlflow_is_one_line(trained: Trained, tmp_path: Path) -> None:
    home = state_folder(trained.home, tmp_path / "var")
    with closing(sqlite3.connect(home / "mlflow.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'f00'")
    prefect_port, mlflow_port = free_ports(2)
    up = Operation(home, prefect_port, mlflow_port).command("up")
    assert up.returncode == 1
    (line,) = [line for line in up.stderr.splitlines() if line.startswith("error: ")]
    assert "docs/upgrade.md" in line
    assert "Traceback" not in up.stderr
    assert marked(home) == []


def test_down_ends_all_that_up_started(operation: Operation) -> None:
    bystander = psutil.Popen(["sleep", "600"])
    try:
        assert marked(operation.home)
        assert operation.command("down").stdout == "all is down\n"
        assert marked(operation.home) == []
        assert bystander.poll() is None
        down = operation.command("down")
        assert (down.returncode, down.stdout) == (0, "nothing was up\n")
    finally:
        bystander.kill()
        bystander.wait()


def test_commands_after_down_print_no_errors_of_their_temporary_server(
    operation: Operation,
) -> None:
    """It opens the database that the services had, and writes what they left to be done."""
    for _ in range(3):
        done = operation.command("clean_up")
        assert done.returncode == 0
        assert "locked" not in done.stderr
        assert "Traceback" not in done.stderr
