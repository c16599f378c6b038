"""Run a command of the repository to its end."""

import os
import subprocess
import sys
from pathlib import Path

from tasks.common.settings import REPOSITORY


def run_command(
    module: str, *arguments: str | Path, home: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run `python -m module` with a state folder, and return its exit code and output.

    Args:
        module: The module, such as `flows.score_shards`.
        arguments: Its options.
        home: The state folder.
        variables: Other environment variables.
    """
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=REPOSITORY,
        env=os.environ | {"MILLSTREAM_HOME": str(home)} | variables,
        capture_output=True,
        text=True,
    )


def run_in_project(
    folder: Path, module: str, *arguments: str | Path
) -> subprocess.CompletedProcess[str]:
    """Run a command with the project file and the state folder `var` of a folder."""
    project = {"MILLSTREAM_PROJECT": str(folder / "millstream.toml"), "COLUMNS": "200"}
    return run_command(module, *arguments, home=folder / "var", **project)
