import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from tests.support.builders import Trained
from tests.support.scoring_command import Scoring, state_folder

Tell = Callable[[str], None]

FULL = 30  # kills from which on it is the whole campaign


@pytest.fixture(scope="session")
def kills() -> int:
    """How many times the campaign kills; a test run skips what asks for it, which takes minutes."""
    kills = int(os.environ.get("MILLSTREAM_FAULT_KILLS", "0"))
    if not kills:
        pytest.skip("the fault campaign; see make faults")
    return kills


@pytest.fixture(scope="session")
def campaign(kills: int) -> None:
    """Skip the tests that ask for it unless all of the campaign is wanted."""
    if kills < FULL:
        pytest.skip("part of the fault campaign; see make faults")


@pytest.fixture
def scoring(trained: Trained, tmp_path: Path) -> Scoring:
    """A command on the files of a folder `in`, with an empty cache and the tests' server."""
    api_url = PREFECT_API_URL.value()
    assert api_url is not None
    home = state_folder(trained.home, tmp_path / "home")
    return Scoring(home, (tmp_path / "in",), tmp_path / "out", api_url)


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Write a line past pytest's capture: a campaign takes minutes."""

    def write(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{line}")
            sys.stdout.flush()

    return write
