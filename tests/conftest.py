"""What holds for every test: no state of the user, no network, and the fixtures of a plugin."""

import gc
import os
import sys
import tempfile
from typing import Any

import pytest

# As a command does: what imports and collection make stays, and searching it for garbage takes a
# sixth of the time.
gc.set_threshold(100_000, 50)

# Before anything of the project or Prefect is imported: no test may touch the user's state.
_STATE = tempfile.TemporaryDirectory(prefix="millstream-tests-")
os.environ["MILLSTREAM_HOME"] = _STATE.name
os.environ["MILLSTREAM_PROJECT"] = os.devnull
for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "PREFECT_HOME"):
    os.environ.pop(name, None)
# Threads of OpenMP spin while they wait for each other: on cores that others use as well, a
# training takes many times as long with them than without.
if processes := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    cores = len(os.sched_getaffinity(0))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // int(processes))))


def _refuse_the_network(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "socket.connect" or not isinstance(arguments[1], tuple):
        return
    host = str(arguments[1][0])
    if host not in ("localhost", "::1") and not host.startswith("127."):
        raise AssertionError(f"a test connects to {host}; expected no network")


sys.addaudithook(_refuse_the_network)


def pytest_configure(config: pytest.Config) -> None:
    """Load the fixtures, but in the process of pytest-xdist that lets others run the tests.

    Importing what they need takes ten seconds, and the others start after it.
    """
    if not config.getoption("numprocesses", default=None):
        config.pluginmanager.import_plugin("tests.support.fixtures")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one process build the first home while the other runs tests that need none."""
    needs_home = {
        item.path for item in items if "_trained_original" in getattr(item, "fixturenames", ())
    }
    first = next((item.path for item in items if item.path in needs_home), None)
    items.sort(key=lambda item: (item.path != first, item.path in needs_home))
