"""A pipeline of several models behind `mlflow models serve`, as any other MLflow model."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tasks.building.packaging import EXAMPLES
from tasks.common.settings import get_settings
from tests.support.builders import Composed
from tests.support.tiny_models import LABELS

START_TIMEOUT_S = 90


@pytest.fixture
def served(composed: Composed, tmp_path: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    binaries = Path(sys.executable).parent
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": get_settings().tracking_uri,
        "MILLSTREAM_HOME": str(tmp_path / "served"),
        # mlflow calls uvicorn through the shell.
        "PATH": f"{binaries}:{os.environ['PATH']}",
    }
    uri = "models:/inference_pipeline_model@champion"
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            f"{binaries}/mlflow models serve --model-uri {uri} --env-manager local "
            f"--host 127.0.0.1 --port {port}".split(),
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_it_answers(address, server, tmp_path / "log")
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait_until_it_answers(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(f"{address}/ping").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    pytest.fail(f"the server does not answer: {log.read_text()}")


def _ask(address: str, texts: list[str]) -> list[dict[str, Any]]:
    body = {"dataframe_split": {"columns": ["text"], "data": [[text] for text in texts]}}
    response = httpx.post(f"{address}/invocations", json=body, timeout=60)
    assert response.status_code == 200, response.text
    return [json.loads(row["text"]) for row in response.json()["predictions"]]


def test_the_served_pipeline_answers_the_original_texts_and_names_its_members(
    served: str, composed: Composed
) -> None:
    answers = _ask(served, list(EXAMPLES))
    assert [a["metadata"]["language_detected"] for a in answers] == ["en", "en", "en", "zh"]
    assert [a["metadata"]["cached"] for a in answers] == [False, False, True, False]
    for answer in answers:
        metadata = answer["model_metadata"]
        members = {member["name"]: member for member in metadata["members"]}
        assert next(iter(members)) == "kind"
        assert metadata["decided_by"] in {"quick", "film"} & set(members)
        assert {member["uri"] for member in members.values()} == {composed.finetuned}
        assert metadata["finetuned_model_uri"] == composed.finetuned
        for member in members.values():
            assert member["label"] in LABELS
            assert 0.5 <= member["score"] <= 1

    again = _ask(served, list(EXAMPLES))
    assert all(answer["metadata"]["cached"] for answer in again)
    assert [a["model_metadata"] for a in again] == [a["model_metadata"] for a in answers]

    wrong = {"dataframe_split": {"columns": ["review"], "data": [["fine"]]}}
    response = httpx.post(f"{served}/invocations", json=wrong)
    assert response.status_code == 400
    assert "Model is missing inputs ['text']" in response.text
