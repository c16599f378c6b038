"""Running a script in a process of its own."""

import os
import subprocess
import sys

from tasks.common.settings import REPOSITORY


def in_a_process(script: str, *arguments: object, **environment: str) -> list[str]:
    child = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"]} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert child.returncode == 0, child.stderr
    return child.stdout.splitlines()
