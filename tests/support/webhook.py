"""Webhook server that records notifications."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Webhook:
    """A running webhook server.

    Attributes:
        host: Its URL without a path; it accepts `/accepted`.
        received: The JSON documents posted to that path.
        refusals: Those posted to other paths, and answered with 404.
    """

    host: str
    received: list[Any]
    refusals: list[Any]


@contextmanager
def webhook() -> Iterator[Webhook]:
    """Run the server on loopback for the block."""
    received: list[Any] = []
    refusals: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            refused = self.path != "/accepted"
            (refusals if refused else received).append(document)
            self.send_response(404 if refused else 204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the base's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Webhook(f"http://127.0.0.1:{server.server_address[1]}", received, refusals)
        server.shutdown()
