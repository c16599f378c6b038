"""Online serving inside a test: its application with a real model, and requests to it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from tasks.output.file_ids import shards_of_folder
from tasks.serving.application import create_application
from tasks.serving.types import ServingOptions

SECONDS = 60


@contextmanager
def served(token: str = "", first: str = "ok", **options: Any) -> Iterator[TestClient]:
    """Yield a client of an application once its status is `first`."""
    application = create_application(
        ServingOptions(**{"poll_seconds": 0.05} | options), token=token
    )
    with TestClient(application, raise_server_exceptions=False) as client:
        wait_for(client, first)
        yield client


def wait_for(client: TestClient, status: str, version: str = "") -> dict[str, Any]:
    """Wait until the application has a status, and a version if one is named."""
    deadline = time.monotonic() + SECONDS
    while True:
        found: dict[str, Any] = client.get("/health").json()
        if found["status"] == status and (not version or version in found["versions"]):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def classify(client: TestClient, *texts: str, **fields: Any) -> list[dict[str, Any]]:
    """Return the answers to texts."""
    response = client.post("/classify", json={"texts": list(texts)} | fields)
    assert response.status_code == 200, response.text
    answers: list[dict[str, Any]] = response.json()["answers"]
    return answers


def wait_for_metric(client: TestClient, line: str) -> None:
    """Wait until the metrics have a line."""
    deadline = time.monotonic() + SECONDS
    while line not in client.get("/metrics").text.splitlines():
        assert time.monotonic() < deadline, line
        time.sleep(0.05)


def wait_for_files(folder: Path, files: int) -> None:
    """Wait until a record, or the shadow of one, has files."""
    deadline = time.monotonic() + SECONDS
    while len(shards_of_folder(folder)) < files:
        assert time.monotonic() < deadline
        time.sleep(0.05)
