"""Limits around the application: the token, the size of a body, and the log of requests."""

import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from tasks.common.text import printable
from tasks.serving.metrics import Metrics

logger = logging.getLogger("millstream.access")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

# Those that a load balancer asks, which has no token.
OPEN_PATHS = frozenset({"/ping", "/health", "/version"})

# Other paths are one in the metrics: anybody may ask for any.
_OTHER = "other"


class Limits:
    """ASGI middleware: refuses requests without the token or with too long a body, and logs all.

    Starlette's own base class for middleware has a task and a queue for each request.
    """

    def __init__(
        self,
        application: Application,
        *,
        paths: frozenset[str],
        token: str,
        max_bytes: int,
        metrics: Metrics,
    ) -> None:
        """Surround an application.

        Args:
            application: What answers.
            paths: Those that it has, for the metrics.
            token: What `Authorization: Bearer` has to say; empty lets everybody in.
            max_bytes: Bytes of a body at most.
            metrics: What counts the requests.
        """
        self._application = application
        self._paths = paths
        self._token = token.encode()
        self._max_bytes = max_bytes
        self._metrics = metrics

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            headers = dict(scope["headers"])
            if not self._is_allowed(scope["path"], headers):
                await _refuse(noting, 401, "Authorization: expected Bearer and the token")
            elif (size := _length(headers)) is not None and size > self._max_bytes:
                await _refuse(noting, 413, self._too_long(f"{size} bytes"))
            else:
                await self._application(scope, self._limited(receive), noting)
        finally:
            self._note(scope, status, time.perf_counter() - started)

    def _is_allowed(self, path: str, headers: MutableMapping[bytes, bytes]) -> bool:
        if not self._token or path in OPEN_PATHS:
            return True
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token)

    def _limited(self, receive: Receive) -> Receive:
        """Return what receives a body of unknown length up to the limit."""
        size = 0

        async def limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._max_bytes:
                raise HTTPException(413, self._too_long("more"))
            return message

        return limited

    def _too_long(self, got: str) -> str:
        return f"body: {got}; expected at most {self._max_bytes} bytes"

    def _note(self, scope: Message, status: int, seconds: float) -> None:
        path = scope["path"] if scope["path"] in self._paths else _OTHER
        self._metrics.count_request(path, status)
        self._metrics.seconds.labels(path).observe(seconds)
        if scope["path"] in OPEN_PATHS and status < 400:
            return
        host, _ = scope.get("client") or ("-", 0)
        logger.info(
            "%s %s %s %d %.1f ms",
            host,
            scope["method"],
            printable(scope["path"]) if path != _OTHER else _OTHER,
            status,
            1_000 * seconds,
        )


def _length(headers: MutableMapping[bytes, bytes]) -> int | None:
    value = headers.get(b"content-length", b"")
    return int(value) if value.isdigit() else None


async def _refuse(send: Send, status: int, error: str) -> None:
    content = json.dumps({"error": error}).encode() + b"\n"
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        (b"connection", b"close"),  # the rest of the body is not read
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
