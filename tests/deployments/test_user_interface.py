"""A user interface that is served alone ends with its command, and quietly."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

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


def test_the_server_ends_with_the_command_and_prints_nothing(tmp_path: Path) -> None:
    codes = {signal.SIGINT: 0, signal.SIGTERM: 143, signal.SIGHUP: 129}
    # At once: each start takes seconds.
    commands = {
        sent: subprocess.Popen(
            [*HEEDING_INTERRUPTS, sys.executable, "-c", SCRIPT, str(tmp_path / sent.name)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        for sent in codes
    }
    for sent, process in commands.items():
        wait_until((tmp_path / sent.name).exists, "the server runs")
        servers = psutil.Process(process.pid).children(recursive=True)
        assert len(servers) == 2
        os.killpg(process.pid, sent)  # a terminal does so
        said, _ = process.communicate(timeout=60)
        assert (sent, process.returncode, said) == (sent, codes[sent], "")
        _, alive = psutil.wait_procs(servers, timeout=10)
        assert alive == []


def test_a_server_that_cannot_start_gives_its_exit_code() -> None:
    command = SCRIPT.replace("time.sleep(600)", "sys.exit(3)")
    ended = subprocess.run([sys.executable, "-c", command, "/dev/null"], cwd=REPOSITORY)
    assert ended.returncode == 3
