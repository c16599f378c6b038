"""Responses of HTTP and S3: refuse what brings no file, and take off a content encoding.

A server may compress a file on its way although it was asked not to, and storage services send a
`.csv.gz` with the content encoding gzip, which then names the file's own compression.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

from tasks.common.errors import DownloadError, TransientDownloadError
from tasks.ingestion.compression import open_compressed
from tasks.ingestion.disk_budget import DiskBudget
from tasks.ingestion.formats import Compression

_COMPRESSIONS: dict[str, Compression] = {
    "identity": "",
    "gzip": "gzip",
    "x-gzip": "gzip",
    "zstd": "zstd",
}
_ENDINGS = {"gzip": ".gz", "zstd": ".zst"}
_MAGIC = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}

_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class Response:
    """What a server answers.

    Attributes:
        url: The address as the user gave it, not a redirected one, without secrets.
        status: The status of HTTP.
        headers: The headers, whose names may be in any case.
        chunks: The body, as it was sent.
        reason: Why the request was refused, in a word of S3, or an empty string.
    """

    url: str
    status: int
    headers: httpx.Headers
    chunks: Iterable[bytes]
    reason: str = ""


# Requests a file with these headers; the response is there until the block ends.
Get = Callable[[Mapping[str, str]], AbstractContextManager[Response]]


def encoding_of(response: Response) -> str:
    """Return the content encoding of the body."""
    named = str(response.headers.get("Content-Encoding", "")).lower().split(",")
    # Some stores keep aws-chunked, which was the transfer's when the object was written:
    # https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
    found = [name.strip() for name in named if name.strip() not in ("", "aws-chunked")]
    return ", ".join(found) or "identity"


def check_response(response: Response, status: int) -> None:
    """Check that a response has this status and an encoding that can be taken off.

    Raises:
        TransientDownloadError: Another attempt may succeed.
        DownloadError: None will.
    """
    found, url = response.status, response.url
    if found == status:
        if (encoding := encoding_of(response)) not in _COMPRESSIONS:
            expected = ", ".join(_COMPRESSIONS)
            raise DownloadError(
                f"{url}: content encoding {encoding!r}, expected none or one of {expected}"
            )
        return
    why = f" ({response.reason})" if response.reason else ""
    if found not in (408, 429) and found < 500:
        raise DownloadError(f"{url}: HTTP {found}{why}, expected {status}")
    wait_s = _retry_after_s(response)
    asked = f" and a wish to wait {wait_s:.0f} s" if wait_s else ""
    raise TransientDownloadError(f"{url}: HTTP {found}{why}{asked}, expected {status}", wait_s)


def transport_compression(body: Path, name: str, encoding: str) -> Compression:
    """Return the compression to take off a received body; an empty string if it is the file.

    Args:
        body: The bytes as they were received.
        name: Of the file; one that ends in `.gz` or `.zst` is compressed itself.
        encoding: The content encoding that the server named.

    Raises:
        DataError: If the body does not have that encoding.
    """
    compression = _COMPRESSIONS[encoding]
    if not compression or not name.lower().endswith(_ENDINGS[compression]):
        return compression
    with open_compressed(body, compression) as stream:
        is_twice = stream.read(len(_MAGIC[compression])) == _MAGIC[compression]
    return compression if is_twice else ""


def decompress_body(
    url: str, body: Path, compression: Compression, target: Path, budget: DiskBudget
) -> None:
    """Write the decompressed bytes of a received body to `target`.

    Args:
        url: Its address, redacted, for the error.
        body: The bytes as they were received.
        compression: Theirs.
        target: The file to write.
        budget: Of the decompressed bytes.

    Raises:
        DataError: If the body is damaged.
        DownloadError: If it becomes larger than the budget allows.
    """
    with open_compressed(body, compression) as stream, target.open("wb") as file:
        for chunk in iter(lambda: stream.read(_CHUNK_BYTES), b""):
            if fault := budget.fault(len(chunk)):
                raise DownloadError(f"{url}: unpacks to {fault}")
            budget.count(file.write(chunk))


def _retry_after_s(response: Response) -> float:
    value = response.headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    with suppress(ValueError):
        when = parsedate_to_datetime(value)
        return max(0.0, (when.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds())
    return 0.0
