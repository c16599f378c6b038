import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def inbox(home: Path) -> Path:
    """The folder that feedback is taken from."""
    folder = home / "feedback"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def write(inbox: Path) -> Callable[..., Path]:
    """Write a file of feedback: rows as JSON."""

    def write(name: str, *rows: dict[str, Any]) -> Path:
        path = inbox / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write
