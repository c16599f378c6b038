"""A web page of another site that attacks a server of this machine from within a browser."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Chromium resolves it to this machine: `chromium.open_window(names=…)`.
NAME = "evil.example"

# Each attack needs no preflight. It resolves to what the page learns.
POST = """
async ([url, body]) => {
    const sent = {method: "POST", mode: "no-cors", body: new Blob([JSON.stringify(body)])};
    return (await fetch(url, sent)).type;
}
"""
# What needs a preflight, as a page of the server itself sends it. It resolves to the status.
SEND = """
async ([url, body]) => {
    const headers = {"Content-Type": "application/json"};
    return (await fetch(url, {method: "POST", headers, body: JSON.stringify(body)})).status;
}
"""
LISTEN = """
url => new Promise(resolve => {
    const socket = new WebSocket(url, ["prefect"]);
    socket.onopen = () => resolve("open");
    socket.onerror = () => resolve("refused");
})
"""


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>another site</title>")

    def log_message(self, *_arguments: object) -> None:
        """Keep quiet."""


@contextmanager
def hostile_site() -> Iterator[str]:
    """Serve an empty page; yields its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{NAME}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
