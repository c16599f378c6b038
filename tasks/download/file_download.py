"""Download of one address to one file: resumable, locked, digest-checked, written atomically.

`download_file` makes one attempt; the next one resumes from `target.part`, see `partial_download`.
The task `download_data` has the retries. The downloading process holds `target.lock`, which stays
behind, empty.
"""

import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from tasks.common.errors import DataError, DownloadError, ParameterError, TransientDownloadError
from tasks.common.files import published_file, sha256_of, waited_lock
from tasks.common.urls import is_s3, redact_url
from tasks.download.body import budget_of, receive
from tasks.download.http_file import http_file
from tasks.download.partial_download import PartialFile, RemoteVersion
from tasks.download.responses import (
    Get,
    Response,
    check_response,
    decompress_body,
    transport_compression,
)
from tasks.download.s3_file import s3_file

READ_TIMEOUT_S = 60.0  # between two reads, not for the whole transfer

logger = logging.getLogger(__name__)


class _Received(NamedTuple):
    """A complete body: its version, and whether it continued an earlier attempt's bytes."""

    version: RemoteVersion
    continued: bool


def download_file(
    url: str, target: Path, *, sha256: str | None = None, timeout_s: float = READ_TIMEOUT_S
) -> Path:
    """Make one attempt to download a file; a later attempt requests the missing bytes only.

    The server is asked whether an existing `target` is still its file, by ETag and Last-Modified,
    and another version replaces it. An existing `target` with the given digest is returned without
    a request. Several processes may download one target at once; one request serves those that
    wait. If a server sends neither ETag nor Last-Modified, the file is transferred each time, and
    a change between two attempts is detected by the length alone: give a digest.

    Args:
        url: An http or https URL, of which messages omit the query, or `s3://bucket/key`. A host
            that requires a login gets that of `~/.netrc`, and S3 the credentials that boto3 finds.
        target: The file to write, atomically. Its name says whether its own bytes are compressed;
            any other compression is the transfer's, and is taken off.
        sha256: The expected digest of the file, in hexadecimal; not checked if None.
        timeout_s: Seconds without data after which the attempt fails.

    Returns:
        `target`.

    Raises:
        ParameterError: `sha256` is not a digest, `url` names no bucket, or `~/.netrc` cannot be
            read.
        TransientDownloadError: The transfer broke; another attempt may succeed.
        DownloadError: `url` is no such address, the server refuses it, the file has another digest
            or is larger than `MILLSTREAM_DOWNLOAD_LIMIT` or the free disk, or `target` cannot be
            written. An earlier `target` stays.
    """
    digest = _check_digest(sha256)
    with _write_errors(target):
        if digest is not None and _is_usable(target, digest):
            return target
        with _opened(url, timeout_s) as get:
            target.parent.mkdir(parents=True, exist_ok=True)
            before = _last_asked(target)
            lock = target.with_name(f"{target.name}.lock")
            with waited_lock(lock, "the process that downloads the file"):
                # Whoever held the lock has just asked the server.
                if _last_asked(target) == before or not _is_usable(target, digest):
                    _refresh(url, get, target, digest)
    return target


def _opened(url: str, timeout_s: float) -> AbstractContextManager[Get]:
    return (s3_file if is_s3(url) else http_file)(url, timeout_s)


def _check_digest(sha256: str | None) -> str | None:
    if sha256 is None or re.fullmatch("[0-9a-fA-F]{64}", sha256):
        return sha256 and sha256.lower()
    raise ParameterError(f"sha256={sha256!r}: expected 64 hexadecimal digits")


def _is_usable(target: Path, digest: str | None) -> bool:
    return target.is_file() and (digest is None or sha256_of(target) == digest)


def _last_asked(target: Path) -> tuple[int, int] | None:
    """Return what changes whenever the server was asked about `target`."""
    try:
        status = _version_note(target).stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


@contextmanager
def _write_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DownloadError(f"{target}: cannot be written ({error.strerror or error})") from error


def _refresh(url: str, get: Get, target: Path, digest: str | None) -> None:
    """Bring `target` up to date, unless the server says that it is."""
    source = hashlib.sha256(url.encode()).hexdigest()
    is_known = digest is None and target.is_file()
    known = RemoteVersion.read(_version_note(target), source) if is_known else None
    part = PartialFile(target.with_name(f"{target.name}.part"))
    received = _transfer(get, part, source, known)
    if received is None:
        logger.info("%s: unchanged since it was downloaded", target)
    else:
        _version_note(target).unlink(missing_ok=True)
        try:
            _publish(redact_url(url), part.path, target, received, digest)
        finally:
            part.discard()
    if version := received.version if received else known:
        version.write(_version_note(target))


def _version_note(target: Path) -> Path:
    return target.with_name(f"{target.name}.version")


def _publish(url: str, body: Path, target: Path, received: _Received, digest: str | None) -> None:
    """Put a received body in the place of `target`, as the file that its name says."""
    try:
        compression = transport_compression(body, target.name, received.version.encoding)
        if not compression:
            _check_content(url, body, received, digest)
            body.replace(target)
            return
        with published_file(target) as draft:
            decompress_body(url, body, compression, draft, budget_of(target.parent))
            _check_content(url, draft, received, digest)
    except DataError:
        # Its message names a file that is gone by then.
        message = f"{url}: damaged, expected content encoding {received.version.encoding!r}"
        raise (TransientDownloadError if received.continued else DownloadError)(message) from None


def _check_content(url: str, file: Path, received: _Received, digest: str | None) -> None:
    if digest is not None and (found := sha256_of(file)) != digest:
        # Bytes of two attempts may not belong together; those of one are the server's file.
        raise (TransientDownloadError if received.continued else DownloadError)(
            f"{url}: sha256 {found}, expected {digest}"
        )


def _transfer(
    get: Get, part: PartialFile, source: str, known: RemoteVersion | None
) -> _Received | None:
    """Complete the part, of an earlier attempt if there is one; None if `known` is up to date."""
    if begun := part.begun_version(source):
        headers = {"Range": f"bytes={part.size}-", **begun.if_range_header()}
        with get(headers) as response:
            if version := begun.resumed_by(response, part.size):
                check_response(response, 206)
                receive(response, part, version.size)
                return _Received(version, continued=True)
            # S3 answers 412 if the object is another version.
            if response.status not in (206, 412, 416):
                return _start_over(response, part, source)
    headers = known.if_changed_headers() if known else {}
    with get(headers) as response:
        if headers and response.status == 304:
            part.discard()
            return None
        return _start_over(response, part, source)


def _start_over(response: Response, part: PartialFile, source: str) -> _Received:
    check_response(response, 200)
    version = part.restart(RemoteVersion.from_response(response, source))
    receive(response, part, version.size)
    return _Received(version, continued=False)
