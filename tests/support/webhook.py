"""A server that notifications are sent to."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Webhook:
    """A server for notifications.

    Attributes:
        host: Its address, without a path; `/told` is the one that it accepts.
        told: The JSON documents that were posted there.
        refusals: Those that were posted elsewhere, and answered with 404.
    """

    host: str
    told: list[Any]
    refusals: list[Any]


@contextmanager
def webhook() -> Iterator[Webhook]:
    """Yield a server on loopback that accepts notifications at one path, and no others."""
    told: list[Any] = []
    refusals: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            refused = self.path != "/told"
            (refusals if refused else told).append(document)
            self.send_response(404 if refused else 204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the base's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Webhook(f"http://127.0.0.1:{server.server_address[1]}", told, refusals)
        server.shutdown()
