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

# Of the largest size: what waits has its body and its texts, three times as many bytes.
_LARGEST_BODIES = 16

# Other paths are one in the metrics: anybody may ask for any.
_OTHER = "other"


class Bodies:
    """The bodies of the requests that are answered now.

    Attributes:
        held: Their bytes.
    """

    def __init__(self, max_bytes: int) -> None:
        """Take the limit.

        Args:
            max_bytes: Bytes of one body at most.
        """
        self.held = 0
        self._max_bytes = max_bytes
        self._max_held = _LARGEST_BODIES * max_bytes

    def check(self, length: int, got: str) -> None:
        """Check the length of a body, which may be as far as it is received, and of all together.

        Raises:
            HTTPException: If it is too long (413), or all of them are (503).
        """
        if length > self._max_bytes:
            raise HTTPException(413, f"body: {got}; expected at most {self._max_bytes} bytes")
        if self.held > self._max_held:
            problem = f"{self.held} bytes of bodies are held; expected at most {self._max_held}"
            raise HTTPException(503, problem, {"Retry-After": "1"})


class _Exchange:
    """What is received and sent for one request.

    Attributes:
        received: Bytes of its body.
        status: That of its answer.
    """

    def __init__(self, receive: Receive, send: Send, bodies: Bodies) -> None:
        self._receive = receive
        self._send = send
        self._bodies = bodies
        self.received = 0
        self.status = 500

    async def receive(self) -> Message:
        message = await self._receive()
        if length := len(message.get("body", b"")):
            self.received += length
            self._bodies.held += length
            self._bodies.check(self.received, "more")
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)


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
            max_bytes: Bytes of a body at most; of all that are answered at a time, sixteen times
                as many.
            metrics: What counts the requests.
        """
        self._application = application
        self._paths = paths
        self._token = token.encode()
        self._bodies = Bodies(max_bytes)
        self._metrics = metrics

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        started, exchange = time.perf_counter(), _Exchange(receive, send, self._bodies)
        try:
            self._check(scope["path"], dict(scope["headers"]))
            await self._application(scope, exchange.receive, exchange.send)
        except HTTPException as refusal:
            await _refuse(exchange.send, refusal)
        finally:
            self._bodies.held -= exchange.received
            self._note(scope, exchange.status, time.perf_counter() - started)

    def _check(self, path: str, headers: MutableMapping[bytes, bytes]) -> None:
        if not self._is_allowed(path, headers):
            error = "Authorization: expected Bearer and the token"
            raise HTTPException(401, error, {"WWW-Authenticate": "Bearer"})
        size = _length(headers)
        self._bodies.check(size, f"{size} bytes")

    def _is_allowed(self, path: str, headers: MutableMapping[bytes, bytes]) -> bool:
        if not self._token or path in OPEN_PATHS:
            return True
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token)

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


def _length(headers: MutableMapping[bytes, bytes]) -> int:
    """Return the length that a body is said to have; 0 if nothing is said."""
    value = headers.get(b"content-length", b"")
    return int(value) if value.isdigit() else 0


async def _refuse(send: Send, refusal: HTTPException) -> None:
    content = json.dumps({"error": refusal.detail}).encode() + b"\n"
    headers = {
        "content-type": "application/json",
        "content-length": str(len(content)),
        "connection": "close",  # the rest of the body is not read
        **(refusal.headers or {}),
    }
    await send(
        {
            "type": "http.response.start",
            "status": refusal.status_code,
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": content})
