"""Addresses and logins reach the server alone, and where a server leads is checked."""

import json
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.common.errors import DownloadError, ParameterError
from tasks.common.settings import get_settings
from tasks.download.file_download import download_file
from tests.support.http_server import FileServer, Reply, serving
from tests.tasks.download.parts import BODY, break_once, part_of


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
        download_file(url, target)
    assert str(raised.value).startswith(f"{shown}: ")
    assert "hunter2" not in "".join(traceback.format_exception(raised.value))


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of logins that is named; it has one for this machine."""
    path = tmp_path / "logins"
    path.write_text("machine 127.0.0.1\nlogin me\npassword my/hunter2\n")
    path.chmod(0o600)
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
            download_file(url, target)
        texts += traceback.format_exception(raised.value)
    notes = part_of(target).with_suffix(".part.json").read_text()
    download_file(url, target)
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
        download_file(server.url, target)
        assert server.requests[0].headers["Authorization"] == LOGIN
        assert "Authorization" not in other.requests[0].headers


def test_a_file_of_logins_that_others_may_read_is_refused(
    server: FileServer, target: Path, netrc: Path
) -> None:
    netrc.chmod(0o644)
    with pytest.raises(ParameterError, match=f"^{netrc}: others may read it, expected"):
        download_file(server.url, target)


def test_a_host_without_a_login_gets_none(server: FileServer, target: Path, netrc: Path) -> None:
    netrc.write_text("machine example.org login me password hunter2\n")
    download_file(server.url, target)
    assert "Authorization" not in server.requests[0].headers


def test_logins_that_cannot_be_read_are_named_and_not_quoted(
    server: FileServer, target: Path, netrc: Path
) -> None:
    netrc.write_text("machine 127.0.0.1\nlogin me hunter2\n")
    with pytest.raises(ParameterError, match=f"^{netrc}: line 3 cannot be read") as raised:
        download_file(server.url, target)
    assert "hunter2" not in str(raised.value)
    assert server.requests == []


def test_logins_that_others_may_read_are_refused(
    server: FileServer, target: Path, netrc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NETRC")
    monkeypatch.setenv("HOME", str(netrc.parent))
    get_settings.cache_clear()
    download_file(server.url, target.with_name("other"))  # there is no such file
    usual = netrc.rename(netrc.with_name(".netrc"))
    usual.chmod(0o644)
    with pytest.raises(ParameterError, match=f"^{usual}: others may read it, expected .* mode 600"):
        download_file(server.url, target)
    usual.chmod(0o600)
    download_file(server.url, target)
    assert server.requests[-1].headers["Authorization"] == LOGIN


@pytest.mark.parametrize("location", ["https://me:my@host:hunter2/a.csv", "https://[::hunter2]/a"])
def test_redirect_to_no_address_is_not_quoted(
    server: FileServer, target: Path, location: str
) -> None:
    server.will(Reply(status=302, headers={"Location": location}))
    with pytest.raises(DownloadError, match="expected a plain http") as raised:
        download_file(server.url, target)
    assert "hunter2" not in "".join(traceback.format_exception(raised.value))


def test_note_beside_a_part_holds_no_address(server: FileServer, target: Path) -> None:
    break_once(server, target, Reply(cut_after=12_000))
    note = json.loads(part_of(target).with_suffix(".part.json").read_text())
    assert note["size"] == len(BODY)
    assert server.host not in json.dumps(note)


def test_log_of_requests_is_hidden_during_a_download_only(server: FileServer, target: Path) -> None:
    download_file(server.url, target)
    assert logging.getLogger("httpx").filters == []


def test_redirect_is_followed_and_the_given_address_named(server: FileServer, target: Path) -> None:
    server.will(
        Reply(status=302, headers={"Location": "/elsewhere?token=hidden"}), Reply(status=404)
    )
    with pytest.raises(DownloadError, match=f"^{server.url}: HTTP 404, expected 200$"):
        download_file(server.url, target)
    server.will(Reply(status=302, headers={"Location": "/elsewhere"}))
    assert download_file(server.url, target).read_bytes() == BODY


@pytest.mark.parametrize("location", ["ftp://example.org/a.csv", "/reviews.csv"])
def test_redirect_that_leads_nowhere_is_final(
    server: FileServer, target: Path, location: str
) -> None:
    server.will(*[Reply(status=302, headers={"Location": location})] * 30)
    with pytest.raises(DownloadError, match="expected a plain http") as raised:
        download_file(server.url, target)
    assert type(raised.value) is DownloadError


def test_folder_that_cannot_be_made_is_named(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "reviews.csv"
    with pytest.raises(DownloadError, match=f"{target}: cannot be written"):
        download_file(server.url, target)
