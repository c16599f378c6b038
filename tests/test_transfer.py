import hashlib
import json
import logging
import pickle
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prefect import Task, flow
from prefect.client.schemas.objects import TaskRun
from prefect.states import Failed
from prefect.tasks import exponential_backoff

from tasks.data import download_data
from tasks.errors import DataError, DownloadError, ParameterError, TransientDownloadError
from tasks.retrying import unless_refused
from tasks.settings import REPOSITORY, get_settings
from tasks.transfer import fetch
from tests.http_server import FileServer, Reply, serving

BODY = random.Random(7).randbytes(20_000)
OTHER = random.Random(8).randbytes(20_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(BODY) as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "data" / "reviews.csv"


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def left_by(target: Path) -> set[str]:
    """Name what lies in the folder, but for the lock."""
    return {path.name for path in target.parent.iterdir()} - {target.name + ".lock"}


def break_once(server: FileServer, target: Path, reply: Reply, **options: Any) -> str:
    server.will(reply)
    with pytest.raises(TransientDownloadError) as raised:
        fetch(server.url, target, **options)
    assert not target.exists()
    return str(raised.value)


# A file, whole or not at all


def test_file_arrives_and_nothing_else_is_left(server: FileServer, target: Path) -> None:
    assert fetch(server.url, target, sha256=SHA256.upper()) == target
    assert target.read_bytes() == BODY
    assert left_by(target) == {"reviews.csv"}


def test_file_without_length_or_validator_arrives(server: FileServer, target: Path) -> None:
    server.etag = None
    server.will(Reply(chunked=True))
    assert fetch(server.url, target).read_bytes() == BODY


def test_empty_file_arrives(server: FileServer, target: Path) -> None:
    server.body = b""
    assert fetch(server.url, target).read_bytes() == b""


def test_progress_bar_stays_off_what_is_no_terminal(
    server: FileServer, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(server.url, target)
    assert capsys.readouterr() == ("", "")


def test_nothing_half_written_is_ever_seen(server: FileServer, target: Path) -> None:
    seen: list[bytes | None] = []
    server.on_chunk = lambda: seen.append(target.read_bytes() if target.exists() else None)
    break_once(server, target, Reply(cut_after=12_000))
    fetch(server.url, target)
    assert len(seen) >= 20
    assert set(seen) == {None}


@pytest.mark.parametrize("digest", [None, SHA256])
def test_file_that_is_there_is_used_without_a_request(
    server: FileServer, target: Path, digest: str | None
) -> None:
    fetch(server.url, target, sha256=digest)
    fetch(server.url, target, sha256=digest)
    assert len(server.requests) == 1


def test_other_file_that_is_there_is_replaced_at_the_end(server: FileServer, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"old")
    seen: set[bytes] = set()
    server.on_chunk = lambda: seen.add(target.read_bytes())
    server.will(Reply(cut_after=12_000))
    with pytest.raises(TransientDownloadError):
        fetch(server.url, target, sha256=SHA256)
    fetch(server.url, target, sha256=SHA256)
    assert seen == {b"old"}
    assert target.read_bytes() == BODY


# Broken transfers


@pytest.mark.parametrize(
    "reply",
    [
        Reply(cut_after=12_000),
        Reply(cut_after=12_000, reset=True),
        Reply(cut_after=12_000, hang_s=0.6),
        Reply(cut_after=12_000, chunked=True),
    ],
    ids=["short body", "reset", "silence", "cut chunks"],
)
def test_broken_transfer_goes_on_where_it_broke(
    server: FileServer, target: Path, reply: Reply
) -> None:
    message = break_once(server, target, reply, timeout_s=0.3)
    assert message.startswith(f"{server.url}: ")
    # A reset may drop what has been sent but not yet read.
    kept = part_of(target).stat().st_size
    assert 0 < kept <= 12_000
    assert kept == 12_000 or reply.reset
    assert part_of(target).read_bytes() == BODY[:kept]

    server.body_bytes_sent = 0
    assert fetch(server.url, target, sha256=SHA256).read_bytes() == BODY
    assert server.ranges == [None, f"bytes={kept}-"]
    assert server.requests[1].headers["If-Range"] == '"one"'
    assert server.body_bytes_sent == len(BODY) - kept
    assert left_by(target) == {"reviews.csv"}


@settings(max_examples=25, deadline=None)
@given(
    body=st.integers(0, 6000).map(random.Random(1).randbytes),
    cuts=st.lists(st.integers(0, 6000), max_size=5),
)
def test_any_sequence_of_cuts_gives_the_source(body: bytes, cuts: list[int]) -> None:
    with (
        TemporaryDirectory() as folder,
        serving(body) as server,
        pytest.MonkeyPatch.context() as env,
    ):
        env.setenv("NO_PROXY", "127.0.0.1")
        server.will(*[Reply(cut_after=cut) for cut in cuts])
        target = Path(folder, "file")
        for _ in range(len(cuts) + 1):
            try:
                fetch(server.url, target)
            except TransientDownloadError:
                assert not target.exists()
                kept = part_of(target).read_bytes()
                assert kept == body[: len(kept)]
        assert target.read_bytes() == body
        if len(server.requests) > 1:
            assert server.body_bytes_sent == len(body)


def test_server_that_sends_less_than_asked_for_is_asked_again(
    server: FileServer, target: Path
) -> None:
    break_once(server, target, Reply(cut_after=5_000))
    message = break_once(server, target, Reply(last=8_999))
    assert message == f"{server.url}: 9000 bytes, expected 20000"
    assert fetch(server.url, target).read_bytes() == BODY
    assert server.ranges == [None, "bytes=5000-", "bytes=9000-"]


def test_length_told_by_the_second_answer_alone_is_checked(
    server: FileServer, target: Path
) -> None:
    break_once(server, target, Reply(cut_after=5_000, chunked=True))
    break_once(server, target, Reply(last=8_999))
    assert fetch(server.url, target).read_bytes() == BODY


def test_server_that_ignores_ranges_sends_it_all_again(server: FileServer, target: Path) -> None:
    break_once(server, target, Reply(cut_after=12_000))
    server.will(Reply(ignore_range=True))
    assert fetch(server.url, target).read_bytes() == BODY
    assert len(server.requests) == 2


def test_range_that_is_refused_is_followed_by_a_fresh_start(
    server: FileServer, target: Path
) -> None:
    break_once(server, target, Reply(cut_after=12_000))
    server.will(Reply(status=416))
    assert fetch(server.url, target).read_bytes() == BODY
    assert server.ranges == [None, "bytes=12000-", None]


def test_bytes_are_kept_while_the_server_is_away(server: FileServer, target: Path) -> None:
    break_once(server, target, Reply(cut_after=12_000))
    break_once(server, target, Reply(status=503))
    fetch(server.url, target)
    assert server.ranges == [None, "bytes=12000-", "bytes=12000-"]


@pytest.mark.parametrize("ignore_if_range", [False, True])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"etag": '"one"'}, {"etag": '"two"'}),
        ({"etag": 'W/"one"'}, {"etag": 'W/"two"'}),
        (
            {"modified": "Mon, 01 Jan 2024 00:00:00 GMT"},
            {"modified": "Tue, 02 Jan 2024 00:00:00 GMT"},
        ),
        ({}, {"body": OTHER + b"more"}),
    ],
    ids=["etag", "weak etag", "modified", "length alone"],
)
def test_two_versions_are_never_glued_together(
    server: FileServer,
    target: Path,
    before: dict[str, Any],
    after: dict[str, Any],
    ignore_if_range: bool,
) -> None:
    for name, value in {"etag": None, **before}.items():
        setattr(server, name, value)
    break_once(server, target, Reply(cut_after=12_000))
    for name, value in {"body": OTHER, **after}.items():
        setattr(server, name, value)
    server.will(Reply(ignore_if_range=ignore_if_range))
    assert fetch(server.url, target).read_bytes() == server.body


def test_part_of_another_address_is_not_continued(server: FileServer, target: Path) -> None:
    break_once(server, target, Reply(cut_after=12_000))
    fetch(server.url + "?version=2", target)
    assert server.ranges == [None, None]


@pytest.mark.parametrize("note", ["", "{", "[]", "{}", '{"source": 1}', "\udc80"])
def test_part_with_an_unreadable_note_is_not_continued(
    server: FileServer, target: Path, note: str
) -> None:
    break_once(server, target, Reply(cut_after=12_000))
    part_of(target).with_suffix(".part.json").write_bytes(note.encode(errors="surrogateescape"))
    assert fetch(server.url, target).read_bytes() == BODY
    assert server.ranges == [None, None]


# What is worth another attempt


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_busy_server_is_worth_another_attempt(
    server: FileServer, target: Path, status: int
) -> None:
    message = break_once(server, target, Reply(status=status))
    assert message == f"{server.url}: HTTP {status}, expected 200"


@pytest.mark.parametrize("status", [204, 304, 400, 401, 403, 404, 410, 416])
def test_refusal_is_final(server: FileServer, target: Path, status: int) -> None:
    server.will(Reply(status=status))
    with pytest.raises(DownloadError, match=f"HTTP {status}, expected 200") as raised:
        fetch(server.url, target)
    assert type(raised.value) is DownloadError
    assert left_by(target) == set()


def wish_to_wait(server: FileServer, target: Path, value: str) -> float | None:
    server.will(Reply(status=503, headers={"Retry-After": value}))
    with pytest.raises(TransientDownloadError) as raised:
        fetch(server.url, target)
    again: TransientDownloadError = pickle.loads(pickle.dumps(raised.value))
    assert again.retry_after_s == raised.value.retry_after_s
    return raised.value.retry_after_s


@pytest.mark.parametrize(
    ("value", "expected"),
    [("7", 7.0), ("Mon, 01 Jan 2024 00:00:00 GMT", 0.0), ("soon", 0.0), ("-5", 0.0)],
)
def test_wish_to_wait_is_read(
    server: FileServer, target: Path, value: str, expected: float
) -> None:
    assert wish_to_wait(server, target, value) == expected


def test_wish_to_wait_until_a_date_is_read(server: FileServer, target: Path) -> None:
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert wish_to_wait(server, target, in_an_hour) == pytest.approx(3600, abs=60)


def test_refused_connection_is_worth_another_attempt(target: Path) -> None:
    with serving(BODY) as gone:
        url = gone.url
    with pytest.raises(TransientDownloadError, match=f"{url}: ConnectError"):
        fetch(url, target)


@pytest.mark.parametrize("first", [[], [Reply(cut_after=12_000)]], ids=["whole", "range"])
def test_packed_body_is_refused(server: FileServer, target: Path, first: list[Reply]) -> None:
    for reply in first:
        break_once(server, target, reply)
    server.will(Reply(headers={"Content-Encoding": "gzip"}))
    with pytest.raises(DownloadError, match="content encoding 'gzip', expected the plain file"):
        fetch(server.url, target)
    assert not target.exists()


# Digests


def test_other_digest_leaves_nothing_and_is_final(server: FileServer, target: Path) -> None:
    wrong = "0" * 64
    with pytest.raises(DownloadError) as raised:
        fetch(server.url, target, sha256=wrong)
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
    assert fetch(server.url, target, sha256=SHA256).read_bytes() == BODY
    assert server.ranges == [None, "bytes=12000-", None]


@pytest.mark.parametrize("digest", ["", "abc", "g" * 64, SHA256 + "0"])
def test_what_is_no_digest_is_refused(server: FileServer, target: Path, digest: str) -> None:
    with pytest.raises(ParameterError, match="expected 64 hexadecimal digits"):
        fetch(server.url, target, sha256=digest)
    assert server.requests == []


# Addresses and secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ftp://me:hunter2@example.org/a.csv?hunter2", "ftp://example.org/a.csv"),
        ("file:///etc/passwd", "file:///etc/passwd"),
        ("me:hunter2@example.org/a.csv", "…@example.org/a.csv"),
        ("http://", "http://"),
        ("http://me:hunter2/word@example.org/", "http://…/…"),
        ("http://me:hunter2@[::1/", "http://…"),
        ("http://me:hunter2@example.org:99999/", "http://example.org:99999/"),
        ("http://me:hunter2@example.org/", "http://example.org/"),
        ("http://me:hunter2@exa\x00mple.org/", "http://exa\x00mple.org/"),
        (f"http://me:hunter2@{'a' * 70}.org/", f"http://{'a' * 70}.org/"),
    ],
)
def test_what_is_no_address_is_refused_without_its_secrets(
    url: str, shown: str, target: Path
) -> None:
    with pytest.raises(DownloadError) as raised:
        fetch(url, target)
    assert str(raised.value).startswith(f"{shown}: ")
    assert "hunter2" not in "".join(traceback.format_exception(raised.value))


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of logins that is named; it has one for this machine."""
    path = tmp_path / "logins"
    path.write_text("machine 127.0.0.1\nlogin me\npassword my/hunter2\n")
    monkeypatch.setenv("NETRC", str(path))
    get_settings.cache_clear()
    yield path
    get_settings.cache_clear()


LOGIN = "Basic bWU6bXkvaHVudGVyMg=="


def test_secrets_reach_the_server_and_no_message_or_log(
    server: FileServer, target: Path, caplog: pytest.LogCaptureFixture, netrc: Path
) -> None:
    caplog.set_level(logging.DEBUG, logger="httpx")
    url = f"http://{server.host}/reviews.csv?token=hidden#hidden"
    texts = []
    for reply in (Reply(status=404), Reply(status=503), Reply(cut_after=5)):
        server.will(reply)
        with pytest.raises(DownloadError) as raised:
            fetch(url, target)
        texts += traceback.format_exception(raised.value)
    notes = part_of(target).with_suffix(".part.json").read_text()
    fetch(url, target)
    assert server.requests[0].path == "/reviews.csv?token=hidden"
    assert {request.headers["Authorization"] for request in server.requests} == {LOGIN}
    everything = "".join([*texts, notes, caplog.text])
    assert f"{server.url}: HTTP 404" in everything
    assert not any(secret in everything for secret in ("hunter2", "hidden", "me:", LOGIN))


def test_a_login_is_not_sent_to_where_a_host_redirects(
    server: FileServer, target: Path, netrc: Path
) -> None:
    with serving(BODY) as other:
        server.will(Reply(status=302, headers={"Location": other.url}))
        fetch(server.url, target)
        assert server.requests[0].headers["Authorization"] == LOGIN
        assert "Authorization" not in other.requests[0].headers


def test_a_host_without_a_login_gets_none(server: FileServer, target: Path, netrc: Path) -> None:
    netrc.write_text("machine example.org login me password hunter2\n")
    fetch(server.url, target)
    assert "Authorization" not in server.requests[0].headers


def test_logins_that_cannot_be_read_are_named_and_not_quoted(
    server: FileServer, target: Path, netrc: Path
) -> None:
    netrc.write_text("machine 127.0.0.1\nlogin me hunter2\n")
    with pytest.raises(ParameterError, match=f"^{netrc}: line 3 cannot be read") as raised:
        fetch(server.url, target)
    assert "hunter2" not in str(raised.value)
    assert server.requests == []


def test_logins_that_others_may_read_are_refused(
    server: FileServer, target: Path, netrc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NETRC")
    monkeypatch.setenv("HOME", str(netrc.parent))
    get_settings.cache_clear()
    fetch(server.url, target.with_name("other"))  # there is no such file
    usual = netrc.rename(netrc.with_name(".netrc"))
    usual.chmod(0o644)
    with pytest.raises(ParameterError, match=f"^{usual}: others may read it, expected .* mode 600"):
        fetch(server.url, target)
    usual.chmod(0o600)
    fetch(server.url, target)
    assert server.requests[-1].headers["Authorization"] == LOGIN


@pytest.mark.parametrize("location", ["https://me:my@host:hunter2/a.csv", "https://[::hunter2]/a"])
def test_redirect_to_no_address_is_not_quoted(
    server: FileServer, target: Path, location: str
) -> None:
    server.will(Reply(status=302, headers={"Location": location}))
    with pytest.raises(DownloadError, match="expected a plain http") as raised:
        fetch(server.url, target)
    assert "hunter2" not in "".join(traceback.format_exception(raised.value))


def test_note_beside_a_part_holds_no_address(server: FileServer, target: Path) -> None:
    break_once(server, target, Reply(cut_after=12_000))
    note = json.loads(part_of(target).with_suffix(".part.json").read_text())
    assert note["size"] == len(BODY)
    assert server.host not in json.dumps(note)


def test_log_of_requests_is_hidden_during_a_download_only(server: FileServer, target: Path) -> None:
    fetch(server.url, target)
    assert logging.getLogger("httpx").filters == []


def test_redirect_is_followed_and_the_given_address_named(server: FileServer, target: Path) -> None:
    server.will(
        Reply(status=302, headers={"Location": "/elsewhere?token=hidden"}), Reply(status=404)
    )
    with pytest.raises(DownloadError, match=f"^{server.url}: HTTP 404, expected 200$"):
        fetch(server.url, target)
    server.will(Reply(status=302, headers={"Location": "/elsewhere"}))
    assert fetch(server.url, target).read_bytes() == BODY


@pytest.mark.parametrize("location", ["ftp://example.org/a.csv", "/reviews.csv"])
def test_redirect_that_leads_nowhere_is_final(
    server: FileServer, target: Path, location: str
) -> None:
    server.will(*[Reply(status=302, headers={"Location": location})] * 30)
    with pytest.raises(DownloadError, match="expected a plain http") as raised:
        fetch(server.url, target)
    assert type(raised.value) is DownloadError


def test_folder_that_cannot_be_made_is_named(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "reviews.csv"
    with pytest.raises(DownloadError, match=f"{target}: cannot be written"):
        fetch(server.url, target)


# Several processes

FETCH = """
import sys
from pathlib import Path
from tasks.transfer import fetch
fetch(sys.argv[1], Path(sys.argv[2]))
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
    assert fetch(server.url, target, sha256=SHA256).read_bytes() == BODY
    assert (server.ranges[1] or "").startswith("bytes=")


# Which failures are worth another attempt of a task


def is_retried(error: Exception) -> bool:
    run = TaskRun(task_key="one", dynamic_key="0")
    return unless_refused(download_data, run, Failed(data=error))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TransientDownloadError("the line broke"), True),
        (ConnectionError("the tracking server is away"), True),
        (DownloadError("HTTP 404"), False),
        (ParameterError("seed=-1"), False),
        (DataError("no table"), False),
    ],
)
def test_what_may_go_away_is_retried(error: Exception, expected: bool) -> None:
    assert is_retried(error) is expected


@pytest.mark.parametrize(
    ("asked_s", "waited_s"), [(0.0, [0.0]), (7.5, [7.5]), (60.0, [60.0]), (61.0, [])]
)
def test_wish_to_wait_is_granted_up_to_a_minute(
    monkeypatch: pytest.MonkeyPatch, asked_s: float, waited_s: list[float]
) -> None:
    waits: list[float] = []
    # Its own clock alone: threads of Prefect sleep as well.
    monkeypatch.setattr("tasks.retrying.time", SimpleNamespace(sleep=waits.append))
    assert is_retried(TransientDownloadError("HTTP 503", asked_s)) is bool(waited_s)
    assert waits == waited_s


# The Prefect task


class TaskLog(logging.Handler):
    """Collects what Prefect logs of task runs, at every level."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    @property
    def delays(self) -> list[float]:
        """The delays of the next attempts that were announced, in seconds."""
        announced = [line.split("will start ")[1] for line in self.lines if "will start " in line]
        return [float(text.split()[0]) for text in announced]


AnyDownload = Task[..., tuple[Path, ...]]


def in_flow(task: AnyDownload, source: str, sha256: str | None = None) -> Path:
    @flow(name="one-download")
    def one_download() -> tuple[Path, ...]:
        return task(source, sha256)

    (file,) = one_download()
    return file


@pytest.fixture
def task_log() -> Iterator[TaskLog]:
    handler = TaskLog()
    logger = logging.getLogger("prefect.task_runs")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.setLevel(level)
    logger.removeHandler(handler)


def test_task_waits_longer_and_longer_by_default() -> None:
    assert download_data.retries == 5
    assert download_data.retry_delay_seconds == [1, 2, 4, 8, 16]
    assert download_data.retry_jitter_factor == 0.5


@pytest.mark.usefixtures("prefect_harness")
def test_task_retries_with_growing_jittered_delays(
    server: FileServer, home: Path, task_log: TaskLog
) -> None:
    server.will(
        Reply(status=503), Reply(cut_after=5_000), Reply(status=503), Reply(cut_after=9_000)
    )
    quick = download_data.with_options(retry_delay_seconds=exponential_backoff(0.1))
    file = in_flow(quick, server.url, SHA256)
    assert file.read_bytes() == BODY
    assert file.is_relative_to(home)
    assert left_by(file) == {"reviews.csv"}
    assert server.ranges == [None, None, "bytes=5000-", "bytes=5000-", "bytes=14000-"]

    delays, nominal = task_log.delays, [0.1, 0.2, 0.4, 0.8]
    assert len(delays) == 4
    for delay, center in zip(delays, nominal, strict=True):
        assert 0.62 * center < delay < 1.5 * center
        assert delay != center
    assert delays[0] < delays[2]
    assert delays[1] < delays[3]
    times = [request.at_s for request in server.requests]
    waited = [after - before for before, after in pairwise(times)]
    # The task sleeps by the clock on the wall, which may be corrected meanwhile.
    assert all(real > delay - 0.05 for real, delay in zip(waited, delays, strict=True))


@pytest.mark.usefixtures("prefect_harness", "home")
def test_task_gives_up_at_once_on_what_is_final(server: FileServer) -> None:
    server.will(Reply(status=404))
    with pytest.raises(DownloadError, match="HTTP 404"):
        in_flow(download_data, server.url)
    assert len(server.requests) == 1


@pytest.mark.usefixtures("prefect_harness", "home")
def test_task_gives_up_after_its_retries(server: FileServer) -> None:
    server.will(*[Reply(status=503)] * 5)
    quick = download_data.with_options(retries=2, retry_delay_seconds=0.01)
    with pytest.raises(TransientDownloadError, match="HTTP 503"):
        in_flow(quick, server.url)
    assert len(server.requests) == 3


@pytest.mark.usefixtures("prefect_harness", "home")
def test_task_waits_as_long_as_the_server_asks(server: FileServer) -> None:
    server.will(Reply(status=503, headers={"Retry-After": "1"}))
    in_flow(download_data.with_options(retry_delay_seconds=0.01), server.url)
    assert server.requests[1].at_s - server.requests[0].at_s >= 1


@pytest.mark.usefixtures("prefect_harness", "home")
def test_task_does_not_wait_for_hours(server: FileServer) -> None:
    server.will(Reply(status=429, headers={"Retry-After": "7200"}))
    with pytest.raises(DownloadError, match="HTTP 429 and a wish to wait 7200 s, expected 200"):
        in_flow(download_data, server.url)
    assert len(server.requests) == 1


@pytest.mark.usefixtures("prefect_harness", "home")
def test_record_and_log_of_a_run_hold_no_secrets(server: FileServer, task_log: TaskLog) -> None:
    records: list[str] = []
    watched = download_data.with_options(
        retry_delay_seconds=0.01,
        on_failure=[lambda _task, run, _state: records.append(repr(run.model_dump()))],
    )
    server.will(Reply(status=503), Reply(cut_after=5_000), Reply(status=404))
    url = f"http://{server.host}/reviews.csv?token=hunter2"
    with pytest.raises(DownloadError, match="HTTP 404"):
        in_flow(watched, url)
    assert "HTTP 404" in records[0]
    everything = "\n".join([*records, *task_log.lines])
    assert f"{server.url}: HTTP 503" in everything
    assert "hunter2" not in everything
