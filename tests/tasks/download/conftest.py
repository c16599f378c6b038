"""A server with a file, and where the file is to lie."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http_server import FileServer, serving
from tests.tasks.download.parts import BODY


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(BODY) as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "data" / "reviews.csv"
