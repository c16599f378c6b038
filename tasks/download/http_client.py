"""HTTP client of downloads: logins of `~/.netrc`, timeouts, and no address in the log."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from netrc import NetrcParseError
from pathlib import Path

import httpx

from tasks.common.errors import DownloadError, ParameterError
from tasks.common.settings import get_settings
from tasks.common.urls import redact_url

_CONNECT_TIMEOUT_S = 10.0


@contextmanager
def http_client(timeout_s: float) -> Iterator[httpx.Client]:
    """Open a client whose requests are not logged, since a URL may hold a token.

    Args:
        timeout_s: Seconds without data after which a request fails.

    Raises:
        ParameterError: `~/.netrc` cannot be read.
    """
    client = httpx.Client(
        auth=_netrc_auth(),
        follow_redirects=True,
        timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_TIMEOUT_S)),
        # A compressed body has other lengths and offsets than the file.
        headers={"Accept-Encoding": "identity"},
    )
    with _muted_request_log(), client:
        yield client


def check_address(url: str) -> httpx.URL:
    """Return a URL's parts.

    Raises:
        DownloadError: It is no http(s) URL, or has a login in it.
        httpx.InvalidURL: It is no URL.
    """
    address = httpx.URL(url)
    if address.scheme not in ("http", "https") or not address.host:
        raise DownloadError(f"{redact_url(url)}: expected an http:// or https:// address")
    if (address.port or 0) > 65535:
        raise DownloadError(f"{redact_url(url)}: port {address.port}, expected at most 65535")
    if address.userinfo:
        raise DownloadError(f"{redact_url(url)}: a login in it, expected that in ~/.netrc")
    return address


@contextmanager
def _muted_request_log() -> Iterator[None]:
    """Filter out httpx's log lines of this thread's requests, which have the whole URL.

    https://github.com/encode/httpx/blob/0.28.1/httpx/_client.py#L1025
    """
    thread = threading.get_ident()
    httpx_log = logging.getLogger("httpx")

    def other_thread(record: logging.LogRecord) -> bool:
        return record.thread != thread

    httpx_log.addFilter(other_thread)
    try:
        yield
    finally:
        httpx_log.removeFilter(other_thread)


def _is_private(path: Path) -> bool:
    status = path.stat()
    return status.st_uid == os.getuid() and not status.st_mode & 0o077


def _netrc_auth() -> httpx.NetRCAuth | None:
    """Return the logins of `~/.netrc`; httpx sends none of them to another host on a redirect."""
    named = get_settings().netrc
    path = named or Path("~/.netrc").expanduser()
    try:
        # Without a path, Python checks itself that nobody else may read the file.
        if named is None or _is_private(named):
            return httpx.NetRCAuth(str(named) if named else None)
        where = "others may read it"
    except FileNotFoundError:
        return None
    except NetrcParseError as error:  # its text may quote a password
        where = f"line {error.lineno} cannot be read" if error.lineno else "others may read it"
    except (OSError, UnicodeError) as error:
        where = f"cannot be read ({type(error).__name__})"
    raise ParameterError(
        f"{path}: {where}, expected lines of machine, login and password, in a file of mode 600"
    )
