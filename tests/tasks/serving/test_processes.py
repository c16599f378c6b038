"""The protocol of a server: heads that do not end, and requests one after another."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvicorn

from tasks.serving import processes
from tasks.serving.processes import JsonHttpProtocol

SECONDS = 30
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def application(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


def with_connection(client: Client) -> None:
    """Run a client of a server with the protocol."""

    async def main() -> None:
        config = uvicorn.Config(
            application, port=0, http=JsonHttpProtocol, lifespan="off", log_config=None
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        async with asyncio.timeout(SECONDS):
            while not server.started:
                await asyncio.sleep(0.01)
            port = server.servers[0].sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await client(reader, writer)
            writer.close()
            server.should_exit = True
            await serving

    asyncio.run(main())


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost:", REQUEST + b"GET / HT"])
def test_a_head_that_does_not_end_is_refused(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(processes, "_HEAD_SECONDS", 0.2)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        found = await reader.read()
        assert found.count(b"204 No Content") == sent.count(REQUEST)
        assert b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json" in found
        assert found.endswith(b'{"error": "the head of a request did not arrive within 0.2 s"}\n')

    with_connection(client)


def test_a_long_head_is_refused_before_it_ends() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in (b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: ", b"x" * 40_000, b"x" * 40_000):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.05)
        head, _, content = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 431 Request Header Fields Too Large")
        assert content == b'{"error": "head: more; expected at most 65536 bytes"}\n'

    with_connection(client)


def test_requests_of_a_connection_have_a_head_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_MOST_HEAD_BYTES", 2 * len(REQUEST))

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in (REQUEST[:10], REQUEST[10:] + REQUEST * 10 + REQUEST[:10], REQUEST[10:]):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.05)
        found = b""
        while found.count(b"204 No Content") < 12:
            found += await reader.read(65_536)
        assert found.count(b"HTTP/1.1 ") == 12

    with_connection(client)
