"""A file arrives whole, with the digest that was asked for, or not at all."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.common.errors import DownloadError, ParameterError, TransientDownloadError
from tasks.common.settings import REPOSITORY
from tasks.ingestion.download import download_file
from tests.support.http_server import FileServer, Reply
from tests.tasks.ingestion.download.parts import BODY, OTHER, SHA256, break_once, left_by, part_of

# A file, whole or not at all


def test_file_arrives_and_nothing_else_is_left(server: FileServer, target: Path) -> None:
    assert download_file(server.url, target, sha256=SHA256.upper()) == target
    assert target.read_bytes() == BODY
    assert left_by(target) == {"reviews.csv"}


def test_file_without_length_or_validator_arrives(server: FileServer, target: Path) -> None:
    server.etag = None
    server.will(Reply(chunked=True))
    assert download_file(server.url, target).read_bytes() == BODY


def test_empty_file_arrives(server: FileServer, target: Path) -> None:
    server.body = b""
    assert download_file(server.url, target).read_bytes() == b""


def test_progress_bar_stays_off_what_is_no_terminal(
    server: FileServer, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download_file(server.url, target)
    assert capsys.readouterr() == ("", "")


def test_nothing_half_written_is_ever_seen(server: FileServer, target: Path) -> None:
    seen: list[bytes | None] = []
    server.on_chunk = lambda: seen.append(target.read_bytes() if target.exists() else None)
    break_once(server, target, Reply(cut_after=12_000))
    download_file(server.url, target)
    assert len(seen) >= 20
    assert set(seen) == {None}


@pytest.mark.parametrize("digest", [None, SHA256])
def test_file_that_is_there_is_used_without_a_request(
    server: FileServer, target: Path, digest: str | None
) -> None:
    download_file(server.url, target, sha256=digest)
    download_file(server.url, target, sha256=digest)
    assert len(server.requests) == 1


def test_other_file_that_is_there_is_replaced_at_the_end(server: FileServer, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"old")
    seen: set[bytes] = set()
    server.on_chunk = lambda: seen.add(target.read_bytes())
    server.will(Reply(cut_after=12_000))
    with pytest.raises(TransientDownloadError):
        download_file(server.url, target, sha256=SHA256)
    download_file(server.url, target, sha256=SHA256)
    assert seen == {b"old"}
    assert target.read_bytes() == BODY


# Digests


def test_other_digest_leaves_nothing_and_is_final(server: FileServer, target: Path) -> None:
    wrong = "0" * 64
    with pytest.raises(DownloadError) as raised:
        download_file(server.url, target, sha256=wrong)
    assert type(raised.value) is DownloadError
    assert str(raised.value) == f"{server.url}: sha256 {SHA256}, expected {wrong}"
    assert left_by(target) == set()


def test_other_digest_of_bytes_of_two_attempts_is_worth_a_fresh_one(
    server: FileServer, target: Path
) -> None:
    server.etag = None
    server.body = OTHER
    break_once(server, target, Reply(cut_after=12_000))
    server.body = BODY
    break_once(server, target, Reply(), sha256=SHA256)
    assert left_by(target) == set()
    assert download_file(server.url, target, sha256=SHA256).read_bytes() == BODY
    assert server.ranges == [None, "bytes=12000-", None]


@pytest.mark.parametrize("digest", ["", "abc", "g" * 64, SHA256 + "0"])
def test_what_is_no_digest_is_refused(server: FileServer, target: Path, digest: str) -> None:
    with pytest.raises(ParameterError, match="expected 64 hexadecimal digits"):
        download_file(server.url, target, sha256=digest)
    assert server.requests == []


# Several processes

FETCH = """
import sys
from pathlib import Path
from tasks.ingestion.download import download_file
download_file(sys.argv[1], Path(sys.argv[2]))
"""


def start_fetch(server: FileServer, target: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", FETCH, server.url, str(target)]
    return subprocess.Popen(command, cwd=REPOSITORY)


def test_two_processes_share_one_download(server: FileServer, target: Path) -> None:
    server.will(Reply(chunk_pause_s=0.05))
    with start_fetch(server, target) as one, start_fetch(server, target) as other:
        assert (one.wait(60), other.wait(60)) == (0, 0)
    assert target.read_bytes() == BODY
    assert len(server.requests) == 1


def test_killed_process_is_continued(server: FileServer, target: Path) -> None:
    server.will(Reply(chunk_pause_s=0.1))
    with start_fetch(server, target) as process:
        deadline = time.monotonic() + 60
        while not (part_of(target).exists() and part_of(target).stat().st_size):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not target.exists()
    assert download_file(server.url, target, sha256=SHA256).read_bytes() == BODY
    assert (server.ranges[1] or "").startswith("bytes=")
