"""What is downloaded, and what a transfer that breaks leaves behind."""

import hashlib
import random
from pathlib import Path
from typing import Any

import pytest

from tasks.common.errors import TransientDownloadError
from tasks.download.file_download import download_file
from tests.support.http_server import FileServer, Reply

BODY = random.Random(7).randbytes(20_000)
OTHER = random.Random(8).randbytes(20_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def left_by(target: Path) -> set[str]:
    """Name what lies in the folder, but for the lock and the note of the version."""
    beside = {target.name + ".lock", target.name + ".version"}
    return {path.name for path in target.parent.iterdir()} - beside


def break_once(server: FileServer, target: Path, reply: Reply, **options: Any) -> str:
    server.will(reply)
    with pytest.raises(TransientDownloadError) as raised:
        download_file(server.url, target, **options)
    assert not target.exists()
    return str(raised.value)
