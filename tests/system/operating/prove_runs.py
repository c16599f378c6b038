"""What runs are to each other: overlaps, reruns, new champions; `make operation-test`."""

import json
import os
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.blocks.system import Secret
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.check_config import PREFECT_FILE
from deployments.prefect_file.placeholders import read_yaml
from deployments.server.registration import register_deployments
from tasks.common.settings import get_settings
from tasks.tracking.mlflow_client import connect
from tests.support.builders import use_home
from tests.support.business import build_with_rules, write_composition, write_customers
from tests.support.operation import Operation, rows_in, settings_of, slow_scoring, until

pytestmark = pytest.mark.timeout(900)


def test_the_run_that_loses_an_output_folder_ends_cancelled_and_disturbs_no_one(
    operation: Operation, tmp_path: Path
) -> None:
    parameters = slow_scoring(tmp_path)
    first = operation.start("score-shards/score-files", parameters)
    until((tmp_path / "out" / ".lock.json").exists, "the first run has the folder")
    second = operation.start("score-shards/score-files", parameters)
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

    failed = operation.start("score-shards/score-files", parameters)
    assert operation.wait_for(failed)["name"] == "Failed"
    assert "Traceback" not in operation.log_of(failed)
    written = {path.name: path.stat().st_mtime_ns for path in output.glob("predictions/*")}

    rows_in(folder, "new")
    rows_in(folder, "bad")
    again = operation.complete("score-shards/score-files", parameters | {"only_failed": True})
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
    # That ends as cancelled if it has not begun when its version is no champion any more.
    for version in (built, "1", built):
        assert operation.command("promote_pipeline", "--version", version).returncode == 0

    def have_ended() -> bool:
        found = Counter(rescored())
        return found.total() == before + 3 and found["Completed"] + found["Cancelled"] == before + 3

    until(have_ended, "re-scoring")
    assert Counter(rescored())["Cancelled"] <= 1
    assert scored_by() == built
    time.sleep(5)
    assert given() - given_before == {built: 2, "models:/inference_pipeline_model/1": 1}


def test_what_the_prefect_file_no_longer_has_is_removed_and_what_others_made_stays(
    operation: Operation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MILLSTREAM_HOME", str(operation.home))  # the file takes it from there
    settings = settings_of(operation)
    project = read_yaml(PREFECT_FILE)  # with the placeholders resolved, as Prefect needs it
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
    register_deployments(operation.api, settings, files["with-old"])
    assert {"old", "mine"} <= names()
    assert "old trigger" in triggers()
    register_deployments(operation.api, settings)
    assert "mine" in names()
    assert "old" not in names()
    assert triggers().isdisjoint({"old trigger"})
    removed = "removed the deployment old of flows/score_shards.py:score_shards, which prefect.yaml"
    assert removed in capsys.readouterr().err


def test_a_run_looks_up_by_the_address_of_a_block_and_shows_its_graph(
    operation: Operation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm = f"sqlite:///{write_customers(tmp_path / 'crm.db')}"
    with temporary_settings({PREFECT_API_URL: operation.api}):
        secret: Any = Secret(value=crm)  # the block that the services have no variable for
        secret.save("millstream-source-crm")
    with monkeypatch.context() as building:
        building.setenv("MILLSTREAM_SOURCE_CRM", crm)
        use_home(operation.home, building)
        connect()
        version = build_with_rules(write_composition(tmp_path, "1"))
    get_settings.cache_clear()
    inputs = tmp_path / "in" / "tickets.csv"
    inputs.parent.mkdir()
    inputs.write_text("text,customer_id\n" + "an awful film,1\n" * 6)
    parameters = {
        "inputs": [str(inputs)],
        "output_dir": str(tmp_path / "out"),
        "model_uri": version,
        "shard_rows": 3,
        "deliver_to": "crm.predictions",
    }
    run = operation.complete("score-shards/score-files", parameters)
    assert crm not in operation.log_of(run)

    def graph() -> dict[str, set[str]]:
        nodes = dict(operation.get(f"/flow_runs/{run}/graph-v2")["nodes"])
        names = {key: re.sub(r"tickets-\w+-0000", "", node["label"]) for key, node in nodes.items()}
        return {
            names[key]: {names[parent["id"]] for parent in node["parents"]}
            for key, node in nodes.items()
        }

    until(lambda: "prove delivery to crm.predictions" in graph(), "the graph has the last task")
    found = graph()
    (inputs_task,) = (name for name in found if name.startswith("find inputs"))
    (survey,) = (name for name in found if name.startswith("survey"))
    assert inputs_task in found[survey]
    for shard in ("1", "2"):
        other = "2" if shard == "1" else "1"
        assert survey in found[f"look up customer {shard}"]
        assert f"look up customer {shard}" in found[f"score {shard}"]
        assert f"look up customer {other}" not in found[f"score {shard}"]
        assert f"score {shard}" in found[f"deliver {shard} to crm.predictions"]
        assert f"score {other}" not in found[f"deliver {shard} to crm.predictions"]
        proof = found["prove delivery to crm.predictions"]
        assert f"deliver {shard} to crm.predictions" in proof
