import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import PREFECT_API_URL

from deployments.serve import FLOWS
from tasks.settings import REPOSITORY
from tests.builders import HEEDING_INTERRUPTS

ENTRYPOINTS = {
    "flows/train_classifier.py:train_classifier": "train-classifier",
    "flows/build_inference_pipeline.py:build_inference_pipeline": "build-inference-pipeline",
    "flows/promote_pipeline.py:promote_pipeline": "promote-pipeline",
    "flows/score_shards.py:score_shards": "score-shards",
    "flows/end_to_end.py:end_to_end": "end-to-end",
    "flows/explain_prediction.py:explain_prediction": "explain-prediction",
    "flows/prune_cache.py:prune_cache": "prune-cache",
    "flows/clean_up.py:clean_up": "clean-up",
}
KEYS = {"name", "entrypoint", "work_pool"}


@pytest.fixture
def project() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())
    return content


def test_every_flow_is_deployed_once_and_to_the_pool(project: dict[str, Any]) -> None:
    deployments = project["deployments"]
    assert [deployment["entrypoint"] for deployment in deployments] == list(ENTRYPOINTS)
    for deployment in deployments:
        assert deployment.keys() == KEYS  # Prefect ignores keys that it does not know
        assert deployment["work_pool"] == {"name": "millstream"}


def test_every_entrypoint_loads_the_flow_of_the_contract(
    project: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)  # as a worker does
    for deployment in project["deployments"]:
        entrypoint = deployment["entrypoint"]
        flow: Flow[..., Any] = load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
        assert flow.name == ENTRYPOINTS[entrypoint]


def test_flows_and_only_flows_are_modules_with_a_command_line() -> None:
    named = {entrypoint.split(":")[0] for entrypoint in ENTRYPOINTS}
    others = {"flows/__init__.py", "flows/command_line.py"}
    assert {f"flows/{path.name}" for path in (REPOSITORY / "flows").glob("*.py")} == named | others


def test_served_flows_are_those_of_the_contract() -> None:
    assert [flow.name for flow in FLOWS] == list(ENTRYPOINTS.values())


@pytest.mark.slow
def test_serving_registers_each_flow_with_its_form(prefect_harness: None, home: Path) -> None:
    command = [*HEEDING_INTERRUPTS, sys.executable, "-m", "deployments.serve"]
    environment = {"PREFECT_API_URL": str(PREFECT_API_URL.value()), "MILLSTREAM_HOME": str(home)}
    with (
        subprocess.Popen(command, cwd=REPOSITORY, env=environment) as process,
        get_client(sync_client=True) as client,
    ):
        deadline = time.monotonic() + 60
        while len(found := client.read_deployments()) < len(ENTRYPOINTS):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
    assert {deployment.entrypoint for deployment in found} == set(ENTRYPOINTS)
    for deployment in found:
        assert deployment.parameter_openapi_schema
        properties = deployment.parameter_openapi_schema["properties"]
        assert all("description" in value for value in properties.values())
