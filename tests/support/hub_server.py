"""HTTP server on 127.0.0.1 with the part of the Hugging Face Hub's API that a download needs."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer(ThreadingHTTPServer):
    """Has one model, whatever its name; `sizes` are stated in place of the true ones."""

    daemon_threads = True

    def __init__(self, files: Mapping[str, bytes], sizes: Mapping[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.sizes = {name: len(content) for name, content in files.items()} | dict(sizes)
        self.fetched: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: HubServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass

    def do_HEAD(self) -> None:
        self._send_file(with_body=False)

    def do_GET(self) -> None:
        if "/revision/" in self.path:
            self._send_json({"id": "someone/model", "sha": COMMIT, "siblings": []})
        elif "/tree/" in self.path:
            self._send_json(
                [
                    {"type": "file", "path": name, "size": size, "oid": _digest(name)}
                    for name, size in self.server.sizes.items()
                ]
            )
        else:
            self._send_file(with_body=True)

    def _send_json(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_file(self, *, with_body: bool) -> None:
        name = self.path.partition(f"/resolve/{COMMIT}/")[2]
        content = self.server.files[name]
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{_digest(name)}"')
        size = len(content) if with_body else self.server.sizes[name]
        self.send_header("Content-Length", str(size))
        self.end_headers()
        if with_body:
            self.server.fetched.append(name)
            self.wfile.write(content)


def _digest(name: str) -> str:
    return hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()


@contextmanager
def serving_hub(
    files: Mapping[str, bytes], sizes: Mapping[str, int] | None = None
) -> Iterator[HubServer]:
    """Serve a model's files until the block ends."""
    with HubServer(files, sizes or {}) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
