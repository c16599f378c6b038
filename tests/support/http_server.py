"""HTTP server on 127.0.0.1 that serves one file and injects scripted faults.

It honours Range, If-Range, If-None-Match and If-Modified-Since. Each request takes the next
`Reply` of the script, or else the correct one.
"""

import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CHUNK_BYTES = 1024


@dataclass(frozen=True)
class Reply:
    """The reply to a request; the defaults are the correct one.

    Attributes:
        status: Answer with this status and no file.
        headers: Added to the usual headers, or replacing them.
        cut_after: Bytes of the body, fewer than Content-Length, after which to disconnect.
        reset: Disconnect with a TCP reset.
        hang_s: Seconds of silence before the disconnection.
        chunk_pause_s: Seconds between two chunks of the body.
        ignore_range: Ignore Range: send the whole file with 200.
        ignore_if_range: Send the requested range of a changed file.
        chunked: Use the chunked transfer coding, without a Content-Length.
        last: The last byte of the range, if it ends before the requested one.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    reset: bool = False
    hang_s: float = 0.0
    chunk_pause_s: float = 0.0
    ignore_range: bool = False
    ignore_if_range: bool = False
    chunked: bool = False
    last: int | None = None


@dataclass(frozen=True)
class Request:
    """A received request, with its time by the monotonic clock."""

    path: str
    headers: dict[str, str]
    at_s: float


class FileServer(ThreadingHTTPServer):
    """Serves `body` at every path; body and validators may be changed between requests."""

    daemon_threads = True

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = body
        self.etag: str | None = '"one"'
        self.modified: str | None = None
        self.script: deque[Reply] = deque()
        self.requests: list[Request] = []
        self.body_bytes_sent = 0
        self.on_chunk: Callable[[], None] = lambda: None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/reviews.csv"

    @property
    def ranges(self) -> list[str | None]:
        """The Range header of every request so far."""
        return [request.headers.get("Range") for request in self.requests]

    def will(self, *replies: Reply) -> None:
        self.script.extend(replies)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: tests let clients disconnect."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FileServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass

    def do_GET(self) -> None:
        server = self.server
        server.requests.append(Request(self.path, dict(self.headers), time.monotonic()))
        reply = server.script.popleft() if server.script else Reply()
        self.close_connection = True
        if reply.status is not None:
            self._send_head(reply, reply.status, {"Content-Length": "0"})
            return
        if self._is_known():
            self._send_head(reply, 304, {})
            return
        self._send_file(reply)

    def _is_known(self) -> bool:
        """Return whether the client has this version; an ETag counts more than a time."""
        if "If-None-Match" in self.headers:
            return self.headers["If-None-Match"] == self.server.etag
        modified = self.headers.get("If-Modified-Since")
        return modified is not None and modified == self.server.modified

    def _send_file(self, reply: Reply) -> None:
        whole = self.server.body
        start = self._range_start(reply)
        if start is not None and start >= len(whole):
            head = {"Content-Length": "0", "Content-Range": f"bytes */{len(whole)}"}
            self._send_head(reply, 416, head)
            return
        end = len(whole) if reply.last is None else reply.last + 1
        body = whole if start is None else whole[start:end]
        head = {"Content-Length": str(len(body))}
        if reply.chunked:
            head = {"Transfer-Encoding": "chunked"}
        if start is not None:
            head["Content-Range"] = f"bytes {start}-{end - 1}/{len(whole)}"
        self._send_head(reply, 200 if start is None else 206, head)
        self._send_body(reply, body)

    def _range_start(self, reply: Reply) -> int | None:
        """Return the first requested byte, or None for the whole file."""
        wanted = self.headers.get("Range")
        if wanted is None or reply.ignore_range:
            return None
        validator = self.headers.get("If-Range")
        current = validator in (None, self.server.etag, self.server.modified)
        if not current and not reply.ignore_if_range:
            return None
        return int(wanted.removeprefix("bytes=").removesuffix("-"))

    def _send_head(self, reply: Reply, status: int, head: dict[str, str]) -> None:
        self.send_response(status)
        validators = {"ETag": self.server.etag, "Last-Modified": self.server.modified}
        known = {name: value for name, value in validators.items() if value is not None}
        for name, value in {**head, **known, **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()

    def _send_body(self, reply: Reply, body: bytes) -> None:
        sent = body if reply.cut_after is None else body[: reply.cut_after]
        for offset in range(0, len(sent), CHUNK_BYTES):
            self._send_chunk(sent[offset : offset + CHUNK_BYTES], chunked=reply.chunked)
            time.sleep(reply.chunk_pause_s)
        time.sleep(reply.hang_s)
        if reply.reset:
            # A linger time of 0 turns the close into a reset.
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        elif reply.chunked and reply.cut_after is None:
            self.wfile.write(b"0\r\n\r\n")

    def _send_chunk(self, chunk: bytes, *, chunked: bool) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk) if chunked else chunk)
        self.server.body_bytes_sent += len(chunk)
        self.server.on_chunk()


@contextmanager
def serving(body: bytes) -> Iterator[FileServer]:
    """Serve `body` until the block ends."""
    with FileServer(body) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
