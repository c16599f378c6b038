"""A new champion takes over while requests are answered; one that cannot be loaded does not."""

import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import psutil
import pytest
from starlette.testclient import TestClient

from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import CHAMPION, PIPELINE_MODEL
from tasks.tracking.pipeline_loader import forget_pipelines
from tests.support.served import classify, served, wait_for

TEXT = "one two three four five six seven eight nine ten"


@pytest.fixture(autouse=True)
def _nothing_loaded(own_versions: None) -> Iterator[None]:
    forget_pipelines()
    yield
    forget_pipelines()


def promote(version: int) -> str:
    connect().set_registered_model_alias(PIPELINE_MODEL, CHAMPION, str(version))
    return f"models:/{PIPELINE_MODEL}/{version}"


def weights_of(version: int) -> Path:
    source = connect().get_model_version(PIPELINE_MODEL, str(version)).source
    return Path(mlflow.artifacts.download_artifacts(source)) / "artifacts" / "pipeline" / "members"


def is_cut(client: TestClient) -> bool:
    """Return whether the version that cuts texts after eight tokens answers."""
    (answer,) = classify(client, TEXT)
    cut: bool = answer["metadata"]["truncated"]
    return cut


def test_a_promotion_and_its_rollback_swap_what_answers_between_requests() -> None:
    ended = threading.Event()

    def ask(client: TestClient) -> set[tuple[int, str, bool]]:
        seen = set()
        while not ended.is_set():
            body = {"texts": [TEXT, f"{TEXT} again"], "use_cache": False}
            response = client.post("/classify", json=body)
            version = response.headers.get("x-model-version", response.text)
            answers = response.json()["answers"]
            cut = {answer["metadata"]["truncated"] for answer in answers}
            assert len(cut) == 1
            seen.add((response.status_code, version, cut.pop()))
        return seen

    with served() as client, ThreadPoolExecutor(4) as threads:
        asking = [threads.submit(ask, client) for _ in range(4)]
        try:
            for version in (2, 1, 2, 1):
                wait_for(client, "ok", promote(version))
        finally:
            ended.set()
        seen = set().union(*(one.result() for one in asking))
        assert seen <= {(200, "1", False), (200, "2", True)}
        assert client.get("/health").json()["swaps"] == 4
        assert "millstream_swaps_total 4.0" in client.get("/metrics").text


def test_a_version_that_cannot_be_loaded_does_not_answer_and_health_says_why() -> None:
    shutil.rmtree(weights_of(2))
    with served() as client:
        uri = promote(2)
        health = wait_for(client, "degraded")
        assert uri in health["error"]
        assert health["versions"] == [f"models:/{PIPELINE_MODEL}/1"]
        assert not is_cut(client)
        promote(1)
        assert wait_for(client, "ok")["error"] == ""


def test_an_alias_that_is_gone_leaves_what_answers() -> None:
    with served() as client:
        connect().delete_registered_model_alias(PIPELINE_MODEL, CHAMPION)
        assert "no version 'champion'" in wait_for(client, "degraded")["error"]
        assert not is_cut(client)


def test_without_a_champion_requests_are_refused_until_there_is_one() -> None:
    connect().delete_registered_model_alias(PIPELINE_MODEL, CHAMPION)
    with served(first="starting") as client:
        response = client.post("/classify", json={"texts": [TEXT]})
        assert response.status_code == 503
        assert "no version answers yet" in response.json()["error"]
        assert response.headers["retry-after"] == "1"
        assert client.get("/ping").status_code == 503
        assert client.get("/health").status_code == 503
        wait_for(client, "ok", promote(2))
        assert is_cut(client)


def test_a_number_is_not_followed() -> None:
    with served(model_uri="1") as client:
        promote(2)
        time.sleep(0.3)  # several looks
        assert not is_cut(client)
        assert client.get("/health").json()["versions"] == [f"models:/{PIPELINE_MODEL}/1"]


def test_a_version_that_does_not_fit_beside_the_other_is_not_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with served() as client:
        free = psutil.virtual_memory()._replace(available=0)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
        uri = promote(2)
        error = wait_for(client, "degraded")["error"]
        assert error.startswith(f"{uri}: needs some ")
        assert "0 MiB are free" in error
        assert not is_cut(client)
