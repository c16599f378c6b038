"""How many bytes a download or an unpacked file may take on disk."""

import shutil
from dataclasses import dataclass
from pathlib import Path

SPARE_BYTES = 2**26  # stay free, for MLflow, Prefect and the records of the run


@dataclass
class DiskBudget:
    """Counts the bytes that go to a folder, against a limit and against what is free.

    Attributes:
        folder: An existing folder on the disk that is written to.
        limit: The most bytes.
        setting: The variable that sets the limit, for the message.
        written: The bytes counted so far.
    """

    folder: Path
    limit: int
    setting: str
    written: int = 0

    def fault(self, more: int) -> str | None:
        """Return why so many more bytes must not be written, in words for an error, or None."""
        total = self.written + more
        if total > self.limit:
            return f"{total} bytes, expected at most {self.limit}; {self.setting} sets it"
        free = shutil.disk_usage(self.folder).free
        if more > free - SPARE_BYTES:
            return (
                f"{total} bytes, expected a disk with room for them; {self.folder} has {free} "
                f"bytes free, of which {SPARE_BYTES} stay"
            )
        return None

    def count(self, size: int) -> None:
        """Count bytes that are written."""
        self.written += size
