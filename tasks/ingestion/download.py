"""HTTP download of one URL to one file: resumable, locked, digest-checked, written atomically.

`download_file` makes one attempt; the next one resumes from `target.part`, see `partial_download`.
The task `download_data` has the retries. The downloading process holds `target.lock`, which stays
behind, empty.
"""

import hashlib
import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from netrc import NetrcParseError
from pathlib import Path

import httpx
from filelock import FileLock, Timeout
from tqdm import tqdm

from tasks.common.errors import DownloadError, ParameterError, TransientDownloadError
from tasks.common.files import sha256_of
from tasks.common.settings import get_settings
from tasks.common.text import printable
from tasks.common.urls import redact_url
from tasks.ingestion.partial_download import PartialFile, RemoteVersion

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0  # between two reads, not for the whole transfer

logger = logging.getLogger(__name__)


def download_file(
    url: str, target: Path, *, sha256: str | None = None, timeout_s: float = READ_TIMEOUT_S
) -> Path:
    """Make one attempt to download a file; a later attempt requests the missing bytes only.

    An existing `target` is returned without a request; one with another digest than given is
    replaced. Several processes may download one target at once. If a server sends neither ETag
    nor Last-Modified, a change between two attempts is detected by the length alone: give a
    digest.

    Args:
        url: An http or https URL; messages omit its query. A host that requires a login gets that
            of `~/.netrc`.
        target: The file to write, atomically.
        sha256: The expected digest of the file, in hexadecimal; not checked if None.
        timeout_s: Seconds without data after which the attempt fails.

    Returns:
        `target`.

    Raises:
        ParameterError: `sha256` is not a digest, or `~/.netrc` cannot be read.
        TransientDownloadError: The transfer broke; another attempt may succeed.
        DownloadError: `url` is no http(s) URL, the server refuses it, the file has another digest,
            or `target` cannot be written.
    """
    digest = _check_digest(sha256)
    with _download_errors(url, target):
        if _is_complete(target, digest):
            return target
        address = _check_url(url)
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked_target(target):
            if not _is_complete(target, digest):
                _download_part(address, target, digest, timeout_s)
    return target


def _check_digest(sha256: str | None) -> str | None:
    if sha256 is None or re.fullmatch("[0-9a-fA-F]{64}", sha256):
        return sha256 and sha256.lower()
    raise ParameterError(f"sha256={sha256!r}: expected 64 hexadecimal digits")


def _check_url(url: str) -> httpx.URL:
    address = httpx.URL(url)
    if address.scheme not in ("http", "https") or not address.host:
        raise DownloadError(f"{redact_url(url)}: expected an http:// or https:// address")
    if (address.port or 0) > 65535:
        raise DownloadError(f"{redact_url(url)}: port {address.port}, expected at most 65535")
    if address.userinfo:
        raise DownloadError(f"{redact_url(url)}: a login in it, expected that in ~/.netrc")
    return address


def _is_complete(target: Path, digest: str | None) -> bool:
    if digest is None or not target.is_file():
        return target.is_file()
    return sha256_of(target) == digest


@contextmanager
def _locked_target(target: Path) -> Iterator[None]:
    lock = FileLock(target.with_name(target.name + ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("%s: waiting for the process that downloads it", target)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _download_errors(url: str, target: Path) -> Iterator[None]:
    try:
        yield
    except (httpx.InvalidURL, UnicodeError):
        # Their texts quote the invalid part, which may belong to a password.
        raise DownloadError(f"{redact_url(url)}: expected a valid http(s) address") from None
    except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.TooManyRedirects) as error:
        raise DownloadError(f"{redact_url(url)}: {error}, expected a plain http(s) file") from error
    except httpx.RequestError as error:
        if "location header" in str(error):  # which is quoted
            raise DownloadError(
                f"{redact_url(url)}: redirected to what is no URL, expected a plain http(s) file"
            ) from None
        message = f"{redact_url(url)}: {type(error).__name__} ({error}), expected a whole file"
        broken = "CERTIFICATE_VERIFY_FAILED" not in str(error)
        raise (TransientDownloadError if broken else DownloadError)(message) from error
    except OSError as error:
        raise DownloadError(f"{target}: cannot be written ({error.strerror or error})") from error


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


def _download_part(address: httpx.URL, target: Path, digest: str | None, timeout_s: float) -> None:
    part = PartialFile(target.with_name(f"{target.name}.part"))
    client = httpx.Client(
        auth=_netrc_auth(),
        follow_redirects=True,
        timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S)),
        # A compressed body has other lengths and offsets than the file.
        headers={"Accept-Encoding": "identity"},
    )
    with _muted_request_log(), client:
        continued = _transfer(client, address, part)
    if digest is not None and (found := sha256_of(part.path)) != digest:
        part.discard()
        # Bytes of two attempts may not belong together; those of one are the server's file.
        raise (TransientDownloadError if continued else DownloadError)(
            f"{redact_url(str(address))}: sha256 {found}, expected {digest}"
        )
    part.path.replace(target)
    part.discard()


def _netrc_auth() -> httpx.NetRCAuth | None:
    """Return the logins of `~/.netrc`; httpx sends none of them to another host on a redirect."""
    named = get_settings().netrc
    path = named or Path("~/.netrc").expanduser()
    try:
        # Without a path, Python also checks that nobody else may read the file.
        return httpx.NetRCAuth(str(named) if named else None)
    except FileNotFoundError:
        return None
    except NetrcParseError as error:  # its text may quote a password
        where = f"line {error.lineno} cannot be read" if error.lineno else "others may read it"
    except (OSError, UnicodeError) as error:
        where = f"cannot be read ({type(error).__name__})"
    raise ParameterError(
        f"{path}: {where}, expected lines of machine, login and password, in a file of mode 600"
    )


def _transfer(client: httpx.Client, address: httpx.URL, part: PartialFile) -> bool:
    """Complete the part; return whether it resumed an earlier attempt."""
    source = hashlib.sha256(str(address).encode()).hexdigest()
    if begun := part.begun_version(source):
        headers = {"Range": f"bytes={part.size}-", **begun.if_range_header()}
        with client.stream("GET", address, headers=headers) as response:
            if version := begun.resumed_by(response, part.size):
                _check_status(response, 206)
                _receive(response, part, version)
                return True
            if response.status_code not in (206, 416):
                _start_over(response, part, source)
                return False
    with client.stream("GET", address) as response:
        _start_over(response, part, source)
    return False


def _start_over(response: httpx.Response, part: PartialFile, source: str) -> None:
    _check_status(response, 200)
    _receive(response, part, part.restart(RemoteVersion.from_response(response, source)))


def _check_status(response: httpx.Response, status: int) -> None:
    found = response.status_code
    encoding = response.headers.get("Content-Encoding", "identity")
    if found == status and encoding == "identity":
        return
    url = _requested_url(response)
    if found == status:
        raise DownloadError(f"{url}: content encoding {encoding!r}, expected the plain file")
    if found not in (408, 429) and found < 500:
        raise DownloadError(f"{url}: HTTP {found}, expected {status}")
    wait_s = _retry_after_s(response)
    asked = f" and a wish to wait {wait_s:.0f} s" if wait_s else ""
    raise TransientDownloadError(f"{url}: HTTP {found}{asked}, expected {status}", wait_s)


def _retry_after_s(response: httpx.Response) -> float:
    value = response.headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    with suppress(ValueError):
        when = parsedate_to_datetime(value)
        return max(0.0, (when.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds())
    return 0.0


def _receive(response: httpx.Response, part: PartialFile, version: RemoteVersion) -> None:
    offset = part.size
    with (
        part.path.open("ab") as file,
        tqdm(
            desc=f"download {printable(part.path.stem)}",
            initial=offset,
            total=version.size,
            unit="B",
            unit_scale=True,
            disable=None,  # shown on a terminal only
        ) as bar,
    ):
        for chunk in response.iter_raw():
            bar.update(file.write(chunk))
        file.flush()
        os.fsync(file.fileno())
    # httpx compares the body with Content-Length only; a server may send less than requested.
    if version.size is not None and part.size != version.size:
        raise TransientDownloadError(
            f"{_requested_url(response)}: {part.size} bytes, expected {version.size}"
        )


def _requested_url(response: httpx.Response) -> str:
    """Return the redacted URL of the user, not the redirected one."""
    return redact_url(str([*response.history, response][0].request.url))
