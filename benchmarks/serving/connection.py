"""A keep-alive HTTP/1.1 connection that costs a load generator little."""

import asyncio
import time
from typing import Self, cast

HOST = "127.0.0.1"

_END_OF_HEAD = b"\r\n\r\n"


def post(path: str, body: bytes) -> bytes:
    """Return the bytes of a request with a JSON body."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection(asyncio.Protocol):
    """A connection with one request at a time; it reads answers with a Content-Length alone.

    Attributes:
        is_open: Whether another request can be sent.
        body: The body of the last answer.
    """

    def __init__(self) -> None:
        self.is_open = False
        self.body = b""
        self._used_at = 0.0
        self._received = bytearray()
        self._answer: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, port: int) -> Self:
        """Connect to a port of this machine.

        Raises:
            OSError: If nobody listens.
        """
        _, connection = await asyncio.get_running_loop().create_connection(cls, HOST, port)
        return connection

    async def send(self, request: bytes, timeout: float) -> int:
        """Send a request, and return the status of its answer.

        Raises:
            ConnectionError: If the connection ends before, or the answer cannot be read.
            TimeoutError: If it takes longer; the connection is closed.
        """
        if self._transport is None or not self.is_open:
            raise ConnectionResetError("the connection is closed")
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        timer = loop.call_later(timeout, self._fail, TimeoutError(f"no answer in {timeout} s"))
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            timer.cancel()

    def idle_s(self) -> float:
        """Return the seconds since the last answer."""
        return time.perf_counter() - self._used_at

    def close(self) -> None:
        """Close the connection."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that waits."""
        self._fail(ConnectionResetError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Answer the request once the whole body is there."""
        self._received += data
        end = self._received.find(_END_OF_HEAD)
        if end < 0:
            return
        try:
            status, length, closes = _read_head(bytes(self._received[:end]))
        except ValueError as error:
            self._fail(ConnectionAbortedError(str(error)))
            return
        start = end + len(_END_OF_HEAD)
        if len(self._received) < start + length:
            return
        self._used_at = time.perf_counter()
        self.body = bytes(self._received[start : start + length])
        self._received.clear()
        if closes:
            self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(status)

    def _fail(self, error: Exception) -> None:
        self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


def _read_head(head: bytes) -> tuple[int, int, bool]:
    """Return the status, the length of the body, and whether the server closes the connection."""
    first, *lines = head.lower().split(b"\r\n")
    fields = dict(line.split(b":", 1) for line in lines)
    if b"content-length" not in fields:
        raise ValueError(f"{first.decode(errors='replace')}: expected a Content-Length")
    closes = fields.get(b"connection", b"").strip() == b"close"
    return int(first.split()[1]), int(fields[b"content-length"]), closes
