"""Leases: who scores staged rows may write to their folder, and only as long as it is there.

Taking a folder away is one rename, after which no process can write to it by its name. A process
of another machine that was slow, or thought to be dead, can so neither publish nor leave a file.
"""

import shutil
from pathlib import Path

from tasks.common.files import unique_name
from tasks.output.folder import STAGING, output_errors

_GONE = ".draft"  # as every file that a killed run may leave


def grant_lease(output_dir: Path, name: str) -> Path:
    """Make the folder of a lease for staged rows and drafts, and return it.

    Args:
        output_dir: The output folder, which this process holds.
        name: A name that no earlier lease of the output had.

    Raises:
        OutputError: If the folder cannot be made.
    """
    folder = output_dir / STAGING / name
    with output_errors(output_dir):
        folder.mkdir(parents=True)
    return folder


def revoke_lease(folder: Path) -> None:
    """Take a lease away, and remove all that was written under it. It may be gone already."""
    gone = folder.with_name(f".{folder.name}.{unique_name()}{_GONE}")
    try:
        folder.rename(gone)
    except FileNotFoundError:
        return
    # On NFS a file that another machine has open cannot be removed; the next run does it.
    shutil.rmtree(gone, ignore_errors=True)


def revoke_all_leases(output_dir: Path) -> None:
    """Remove all that was staged in an output folder, also by runs that were killed.

    Others may write to the output folder: a link there is removed, not followed.

    Args:
        output_dir: The output folder, which this process holds.

    Raises:
        OutputError: If the folder may not be written.
    """
    staging = output_dir / STAGING
    with output_errors(output_dir):
        if staging.is_symlink() or staging.is_file():
            staging.unlink()
        else:
            revoke_lease(staging)
    for gone in output_dir.glob(f".{STAGING}.*{_GONE}"):
        shutil.rmtree(gone, ignore_errors=True)
