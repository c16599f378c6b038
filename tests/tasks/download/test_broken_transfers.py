"""A broken transfer goes on where it broke, and what is refused is not asked for again."""

import pickle
import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.common.errors import DownloadError, TransientDownloadError
from tasks.download.file_download import download_file
from tests.support.http_server import FileServer, Reply, serving
from tests.tasks.download.parts import BODY, OTHER, SHA256, break_once, left_by, part_of

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
    assert download_file(server.url, target, sha256=SHA256).read_bytes() == BODY
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
                download_file(server.url, target)
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
    assert download_file(server.url, target).read_bytes() == BODY
    assert server.ranges == [None, "bytes=5000-", "bytes=9000-"]


def test_length_told_by_the_second_answer_alone_is_checked(
    server: FileServer, target: Path
) -> None:
    break_once(server, target, Reply(cut_after=5_000, chunked=True))
    break_once(server, target, Reply(last=8_999))
    assert download_file(server.url, target).read_bytes() == BODY


def test_server_that_ignores_ranges_sends_it_all_again(server: FileServer, target: Path) -> None:
    break_once(server, target, Reply(cut_after=12_000))
    server.will(Reply(ignore_range=True))
    assert download_file(server.url, target).read_bytes() == BODY
    assert len(server.requests) == 2


def test_range_that_is_refused_is_followed_by_a_fresh_start(
    server: FileServer, target: Path
) -> None:
    break_once(server, target, Reply(cut_after=12_000))
    server.will(Reply(status=416))
    assert download_file(server.url, target).read_bytes() == BODY
    assert server.ranges == [None, "bytes=12000-", None]


def test_bytes_are_kept_while_the_server_is_away(server: FileServer, target: Path) -> None:
    break_once(server, target, Reply(cut_after=12_000))
    break_once(server, target, Reply(status=503))
    download_file(server.url, target)
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
    assert download_file(server.url, target).read_bytes() == server.body


def test_part_of_another_address_is_not_continued(server: FileServer, target: Path) -> None:
    break_once(server, target, Reply(cut_after=12_000))
    download_file(server.url + "?version=2", target)
    assert server.ranges == [None, None]


@pytest.mark.parametrize("note", ["", "{", "[]", "{}", '{"source": 1}', "\udc80"])
def test_part_with_an_unreadable_note_is_not_continued(
    server: FileServer, target: Path, note: str
) -> None:
    break_once(server, target, Reply(cut_after=12_000))
    part_of(target).with_suffix(".part.json").write_bytes(note.encode(errors="surrogateescape"))
    assert download_file(server.url, target).read_bytes() == BODY
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
        download_file(server.url, target)
    assert type(raised.value) is DownloadError
    assert left_by(target) == set()


def wish_to_wait(server: FileServer, target: Path, value: str) -> float | None:
    server.will(Reply(status=503, headers={"Retry-After": value}))
    with pytest.raises(TransientDownloadError) as raised:
        download_file(server.url, target)
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
        download_file(url, target)


@pytest.mark.parametrize("first", [[], [Reply(cut_after=12_000)]], ids=["whole", "range"])
def test_body_packed_otherwise_is_refused(
    server: FileServer, target: Path, first: list[Reply]
) -> None:
    for reply in first:
        break_once(server, target, reply)
    server.will(*[Reply(headers={"Content-Encoding": "br"})] * 2)
    with pytest.raises(DownloadError, match="content encoding 'br', expected none or one of ident"):
        download_file(server.url, target)
    assert not target.exists()
