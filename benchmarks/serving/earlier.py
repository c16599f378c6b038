"""A copy of a logged pipeline with the code of a commit before online serving."""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

from benchmarks.serving.names import UnavailableError
from tasks.common.settings import REPOSITORY

COMMIT = "4b62efa6f903f2d00f5d342536fcb8c4130ab57c"


def copy_with_earlier_code(model: Path, folder: Path) -> Path:
    """Copy a logged pipeline, and replace the code that it ships by that of `COMMIT`.

    Args:
        model: Folder of the logged model.
        folder: The folder of the copy, which is not there.

    Raises:
        UnavailableError: If the repository lacks the commit, as a shallow clone does.
    """
    archive = _read_code()
    shipped = folder / "artifacts" / "pipeline" / "pyfunc"
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("pyfunc", "__pycache__"))
    with tarfile.open(fileobj=io.BytesIO(archive)) as code:
        code.extractall(shipped.parent, filter="data")
    shutil.copy(shipped / "model.py", folder / "model.py")
    return folder


def _read_code() -> bytes:
    command = ["git", "-C", str(REPOSITORY), "archive", "--format=tar", COMMIT, "pyfunc"]
    try:
        found = subprocess.run(command, capture_output=True, check=False)
    except OSError as error:
        raise UnavailableError(f"git cannot be run ({error.strerror})") from error
    if found.returncode:
        raise UnavailableError(f"commit {COMMIT[:7]} is not here, as in a shallow clone")
    return found.stdout
