"""What is said where nothing is up."""

import os
import subprocess
import sys
from pathlib import Path

from tasks.common.settings import REPOSITORY


def test_where_nothing_is_up_a_line_says_what_starts_it(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "deployments.status"],
        cwd=REPOSITORY,
        env=os.environ | {"MILLSTREAM_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    expected = f"nothing is up in {tmp_path}; `make up` starts it\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, expected, "")
