"""A user interface that is served alone ends with its command, and quietly."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tasks.common.settings import REPOSITORY
from tests.support.builders import HEEDING_INTERRUPTS
from tests.support.scoring_command import wait_until

# Like MLflow's: it starts another process, and Python prints a traceback at Ctrl-C.
SERVER = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[1], "w").close()
time.sleep(600)
"""
SCRIPT = f"""
import sys
from deployments.services.definitions import Service
from deployments.user_interface import serve
command = (sys.executable, "-c", {SERVER!r}, sys.argv[1])
sys.exit(serve(Service(name="server", address="", command=command, environment={{}})))
"""


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_the_server_ends_with_the_command_and_prints_nothing(
    tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    process = subprocess.Popen(
        [*HEEDING_INTERRUPTS, sys.executable, "-c", SCRIPT, str(tmp_path / "serves")],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    wait_until((tmp_path / "serves").exists, "the server runs")
    servers = psutil.Process(process.pid).children(recursive=True)
    assert len(servers) == 2
    os.killpg(process.pid, sent)  # a terminal does so
    said, _ = process.communicate(timeout=60)
    assert (process.returncode, said) == (code, "")
    _, alive = psutil.wait_procs(servers, timeout=10)
    assert alive == []


def test_a_server_that_cannot_start_gives_its_exit_code() -> None:
    command = SCRIPT.replace("time.sleep(600)", "sys.exit(3)")
    ended = subprocess.run([sys.executable, "-c", command, "/dev/null"], cwd=REPOSITORY)
    assert ended.returncode == 3
