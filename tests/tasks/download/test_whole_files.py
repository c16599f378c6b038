"""A file arrives whole, with the digest that was asked for, or not at all."""

import gzip
import hashlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.common.errors import DownloadError, ParameterError, TransientDownloadError
from tasks.common.settings import REPOSITORY, get_settings
from tasks.download.file_download import download_file
from tasks.ingestion import disk_budget
from tests.support.http_server import FileServer, Reply
from tests.tasks.download.parts import BODY, OTHER, SHA256, break_once, left_by, part_of

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


def test_file_that_has_its_digest_is_used_without_a_request(
    server: FileServer, target: Path
) -> None:
    download_file(server.url, target, sha256=SHA256)
    download_file(server.url, target, sha256=SHA256)
    assert len(server.requests) == 1


# The same URL again

MONDAY, TUESDAY = "Mon, 01 Jan 2024 00:00:00 GMT", "Tue, 02 Jan 2024 00:00:00 GMT"


@pytest.mark.parametrize(
    ("before", "after", "question"),
    [
        ({"etag": '"one"'}, {"etag": '"two"'}, {"If-None-Match": '"one"'}),
        ({"etag": 'W/"one"'}, {"etag": 'W/"two"'}, {"If-None-Match": 'W/"one"'}),
        ({"modified": MONDAY}, {"modified": TUESDAY}, {"If-Modified-Since": MONDAY}),
    ],
    ids=["etag", "weak etag", "modified"],
)
def test_server_is_asked_for_another_version(
    server: FileServer,
    target: Path,
    before: dict[str, str],
    after: dict[str, str],
    question: dict[str, str],
) -> None:
    for name, value in {"etag": None, **before}.items():
        setattr(server, name, value)
    download_file(server.url, target)
    written = target.stat().st_mtime_ns
    for _ in range(2):
        download_file(server.url, target)
        assert target.stat().st_mtime_ns == written
        assert question.items() <= server.requests[-1].headers.items()
    assert server.body_bytes_sent == len(BODY)
    server.body = OTHER
    for name, value in after.items():
        setattr(server, name, value)
    assert download_file(server.url, target).read_bytes() == OTHER
    assert left_by(target) == {"reviews.csv"}


@pytest.mark.parametrize("note", [None, "", "{}", '{"source": "another"}'])
def test_file_of_an_unknown_version_is_transferred_again(
    server: FileServer, target: Path, note: str | None
) -> None:
    download_file(server.url, target)
    version = target.with_name("reviews.csv.version")
    version.unlink() if note is None else version.write_text(note)
    server.body = OTHER
    assert download_file(server.url, target).read_bytes() == OTHER


def test_file_of_a_server_without_validators_is_transferred_each_time(
    server: FileServer, target: Path
) -> None:
    server.etag = None
    download_file(server.url, target)
    server.body = OTHER
    assert download_file(server.url, target).read_bytes() == OTHER


@pytest.mark.parametrize("reply", [Reply(status=503), Reply(status=404), Reply(cut_after=9)])
def test_file_stays_when_its_other_version_does_not_arrive(
    server: FileServer, target: Path, reply: Reply
) -> None:
    download_file(server.url, target)
    server.body, server.etag = OTHER, '"two"'
    server.will(reply)
    with pytest.raises(DownloadError):
        download_file(server.url, target)
    assert target.read_bytes() == BODY
    assert download_file(server.url, target).read_bytes() == OTHER


# Bounds


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The most bytes of a download, fewer than the server has."""
    monkeypatch.setenv("MILLSTREAM_DOWNLOAD_LIMIT", "19999")
    get_settings.cache_clear()
    yield 19_999
    get_settings.cache_clear()


def test_file_past_the_limit_is_refused_before_it_is_received(
    server: FileServer, target: Path, limit: int
) -> None:
    with pytest.raises(DownloadError) as raised:
        download_file(server.url, target)
    assert str(raised.value) == (
        f"{server.url}: 20000 bytes, expected at most {limit}; MILLSTREAM_DOWNLOAD_LIMIT sets it"
    )
    assert type(raised.value) is DownloadError
    assert left_by(target) == set()


@pytest.mark.parametrize("first", [[], [Reply(cut_after=12_000, chunked=True)]])
def test_file_of_an_unknown_length_is_received_up_to_the_limit(
    server: FileServer, target: Path, limit: int, first: list[Reply]
) -> None:
    for reply in first:
        break_once(server, target, reply)
    server.will(Reply(chunked=True, ignore_range=True))
    with pytest.raises(DownloadError, match="MILLSTREAM_DOWNLOAD_LIMIT sets it"):
        download_file(server.url, target)
    assert left_by(target) == set()


@pytest.mark.parametrize("chunked", [False, True])
def test_file_that_the_disk_has_no_room_for_is_refused(
    server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch, chunked: bool
) -> None:
    monkeypatch.setattr(disk_budget, "SPARE_BYTES", 2**62)
    server.will(Reply(chunked=chunked))
    with pytest.raises(DownloadError, match=f"^{server.url}: .* expected a disk with room"):
        download_file(server.url, target)
    assert left_by(target) == set()


# Compression on the way

TABLE = b"text,label\na film,good\n" * 900
ZSTD = pa.Codec("zstd")


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("name", "encoding", "body", "file"),
    [
        ("a.csv.gz", "gzip", gzipped(TABLE), gzipped(TABLE)),
        ("a.csv.GZ", "X-GZip", gzipped(TABLE), gzipped(TABLE)),
        ("a.csv.gz", "gzip", gzipped(gzipped(TABLE)), gzipped(TABLE)),
        ("a.csv", "gzip", gzipped(TABLE), TABLE),
        ("a.csv.zst", "zstd", ZSTD.compress(TABLE, asbytes=True), None),
        ("a.csv", "zstd", ZSTD.compress(TABLE, asbytes=True), TABLE),
        ("a.csv.zst", "gzip", gzipped(ZSTD.compress(TABLE, asbytes=True)), None),
    ],
)
@pytest.mark.parametrize("cuts", [0, 1])
def test_file_is_what_its_name_says_whatever_the_transfer_is_packed_with(
    server: FileServer,
    target: Path,
    name: str,
    encoding: str,
    body: bytes,
    file: bytes | None,
    cuts: int,
) -> None:
    server.body, target = body, target.with_name(name)
    file = ZSTD.compress(TABLE, asbytes=True) if file is None else file
    reply = Reply(headers={"Content-Encoding": encoding})
    for _ in range(cuts):
        break_once(server, target, replace(reply, cut_after=20))
    server.will(reply)
    digest = hashlib.sha256(file).hexdigest()
    assert download_file(server.url, target, sha256=digest).read_bytes() == file
    assert left_by(target) == {name}
    assert len(server.requests) == 1 + cuts


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_body_without_the_encoding_that_is_named_is_refused(
    server: FileServer, target: Path, name: str
) -> None:
    target = target.with_name(name)
    server.will(Reply(headers={"Content-Encoding": "gzip"}))
    message = f"^{server.url}: damaged, expected content encoding 'gzip'"
    with pytest.raises(DownloadError, match=message):
        download_file(server.url, target)
    assert left_by(target) == set()


def test_packed_body_is_unpacked_up_to_the_limit(
    server: FileServer, target: Path, limit: int
) -> None:
    server.body = gzip.compress(bytes(10**6))
    server.will(Reply(headers={"Content-Encoding": "gzip"}))
    with pytest.raises(
        DownloadError, match=r"/reviews\.csv: unpacks to .*; MILLSTREAM_DOWNLOAD_LIMIT sets it"
    ):
        download_file(server.url, target)
    assert left_by(target) == set()


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
from tasks.download.file_download import download_file
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
