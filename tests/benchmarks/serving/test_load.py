"""The load generator counts what a real server does, and latencies count from when they are due."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benchmarks.serving.connection import Connection
from benchmarks.serving.load import generate, request_of
from benchmarks.serving.measured import Dialect, Load, LoadOrder
from tasks.common.settings import REPOSITORY

Respond = Callable[[str, bytes], Awaitable[bytes]]

TEXTS = tuple(f"text {number}" for number in range(20_000))


def answer(status: int = 200, body: bytes = b"{}", more: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


@asynccontextmanager
async def serving(respond: Respond) -> AsyncIterator[int]:
    """Yield the port of a server that answers with what `respond` returns for path and body."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(head.split("Content-Length: ")[1].split("\r\n")[0])
                body = await reader.readexactly(length)
                found = await respond(head.split()[1], body)
                if not found:
                    break
                writer.write(found)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def measure(respond: Respond, **fields: Any) -> Load:
    async def run() -> Load:
        async with serving(respond) as port:
            order = {"port": port, "dialect": "text", "texts": TEXTS, "seconds": 0.4} | fields
            return await generate(LoadOrder.model_validate(order))

    return asyncio.run(run())


def test_closed_loop_has_as_many_requests_at_a_time_as_clients() -> None:
    at_a_time: list[int] = [0, 0]

    async def respond(path: str, body: bytes) -> bytes:
        at_a_time[0] += 1
        at_a_time[1] = max(at_a_time)
        await asyncio.sleep(0.01)
        at_a_time[0] -= 1
        return answer()

    load = measure(respond, clients=4)
    assert at_a_time[1] == load.connections == 4
    assert load.errors == 0
    assert load.per_second == pytest.approx(4 / 0.0105, rel=0.3)
    assert load.p50 == pytest.approx(10.5, rel=0.3)
    assert load.p50 <= load.p99 <= load.p999 <= load.slowest  # type: ignore[operator]
    assert 0 < load.cores < 1
    assert load.rate is load.lateness is None


def test_what_is_asked_in_the_warm_up_is_not_counted() -> None:
    asked = 0

    async def respond(path: str, body: bytes) -> bytes:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.1 if asked < 3 else 0.005)
        return answer()

    load = measure(respond, clients=1, warm_up=0.3)
    assert load.seconds == pytest.approx(0.4)
    assert load.slowest is not None
    assert load.slowest < 90
    assert load.outcomes["200"] < asked


@pytest.mark.parametrize("loop", [{"clients": 2}, {"rate": 200.0}])
def test_errors_are_counted_by_status_and_have_no_latency(loop: dict[str, float]) -> None:
    answers = [answer(), answer(503), b"", b"HTTP/1.1 200 OK\r\n\r\n"]
    asked = 0

    async def respond(path: str, body: bytes) -> bytes:
        nonlocal asked
        asked += 1
        found = answers[asked % 4]
        await asyncio.sleep(0.1 if found == answer(503) else 0)
        return found

    load = measure(respond, **loop)
    assert set(load.outcomes) == {
        "200",
        "503",
        "ConnectionResetError",
        "ConnectionAbortedError",
    }
    assert load.errors == sum(load.outcomes.values()) - load.outcomes["200"]
    assert load.slowest is not None
    assert load.slowest < 100


def test_a_request_that_takes_too_long_is_an_error() -> None:
    async def respond(path: str, body: bytes) -> bytes:
        await asyncio.sleep(1)
        return answer()

    load = measure(respond, clients=2, timeout=0.05)
    assert set(load.outcomes) == {"timeout"}
    assert load.per_second == 0
    assert load.p50 is load.slowest is None


def test_a_server_that_is_gone_is_an_error_of_each_request() -> None:
    order = LoadOrder(port=1, dialect="text", texts=TEXTS, clients=2, seconds=0.1)
    load = asyncio.run(generate(order))
    assert set(load.outcomes) == {"ConnectionRefusedError"}


def test_a_connection_that_the_server_closes_after_an_answer_is_replaced() -> None:
    async def respond(path: str, body: bytes) -> bytes:
        return answer(more="Connection: close\r\n")

    load = measure(respond, clients=2)
    assert load.errors == 0
    assert load.outcomes["200"] > 10


def test_an_answer_in_pieces_is_read_whole() -> None:
    async def run() -> Connection:
        async def respond(path: str, body: bytes) -> bytes:
            return answer(body=b"x" * 5_000_000)

        async with serving(respond) as port:
            connection = await Connection.open(port)
            assert await connection.send(request_of("text", "a"), 5) == 200
            connection.close()
            return connection

    assert asyncio.run(run()).body == b"x" * 5_000_000


def test_arrivals_of_an_open_loop_do_not_wait_for_answers() -> None:
    async def respond(path: str, body: bytes) -> bytes:
        await asyncio.sleep(0.3)
        return answer()

    load = measure(respond, rate=200.0, seconds=1.0)
    assert load.rate == 200.0
    assert sum(load.outcomes.values()) == pytest.approx(200, rel=0.3)
    assert load.connections > 30
    assert load.waited == 0
    assert load.lateness is not None
    assert load.lateness < 100


def test_latencies_of_an_open_loop_count_the_wait_behind_others() -> None:
    lock = asyncio.Lock()

    async def respond(path: str, body: bytes) -> bytes:
        async with lock:  # 100 a second at most, half of what arrives
            await asyncio.sleep(0.01)
        return answer()

    load = measure(respond, rate=200.0, seconds=1.0)
    assert load.slowest is not None
    assert load.slowest > 500
    assert load.per_second < 110
    assert load.seconds > 1.5


def test_a_request_that_waits_for_a_connection_is_told_and_its_latency_counts_the_wait() -> None:
    async def respond(path: str, body: bytes) -> bytes:
        await asyncio.sleep(0.02)
        return answer()

    load = measure(respond, rate=200.0, connections=1, seconds=0.5)
    assert load.connections == 1
    assert load.waited > 10
    assert load.slowest is not None
    assert load.slowest > 200
    assert load.lateness == pytest.approx(load.slowest, rel=0.3)


def test_arrivals_have_the_gaps_of_a_poisson_process() -> None:
    times: list[float] = []

    async def respond(path: str, body: bytes) -> bytes:
        times.append(asyncio.get_running_loop().time())
        return answer()

    measure(respond, rate=300.0, seconds=1.5)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(1 / 300, rel=0.25)
    # The share of gaps above the mean: 1/e; of equal gaps it would be about a half.
    assert sum(gap > mean for gap in gaps) / len(gaps) == pytest.approx(0.37, abs=0.08)


def test_distinct_texts_are_sent_once_and_the_load_ends_with_them() -> None:
    asked: list[str] = []

    async def respond(path: str, body: bytes) -> bytes:
        asked.append(json.loads(body)["text"])
        return answer()

    load = measure(respond, clients=3, texts=TEXTS[:50], seconds=20)
    assert sorted(asked) == sorted(TEXTS[:50])
    assert load.outcomes == {"200": 50}
    assert load.seconds < 5


def test_texts_that_run_out_in_the_warm_up_are_an_error() -> None:
    async def respond(path: str, body: bytes) -> bytes:
        return answer()

    with pytest.raises(ValueError, match="texts: 3 ran out in the warm-up"):
        measure(respond, clients=1, texts=TEXTS[:3], warm_up=10)


def test_repeated_texts_are_drawn_from_all() -> None:
    asked: list[str] = []

    async def respond(path: str, body: bytes) -> bytes:
        asked.append(json.loads(body)["text"])
        return answer()

    measure(respond, clients=1, texts=TEXTS[:5], repeat=True)
    assert set(asked) == set(TEXTS[:5])
    assert len(asked) > 20


@pytest.mark.parametrize(
    ("dialect", "path", "body"),
    [
        ("classify", "/classify", {"texts": ["ä"]}),
        (
            "invocations",
            "/invocations",
            {"dataframe_split": {"columns": ["text"], "data": [["ä"]]}},
        ),
        ("text", "/predict", {"text": "ä"}),
    ],
)
def test_a_text_is_sent_as_the_server_expects_it(dialect: Dialect, path: str, body: Any) -> None:
    asked: list[tuple[str, Any]] = []

    async def respond(path: str, body: bytes) -> bytes:
        asked.append((path, json.loads(body)))
        return answer()

    measure(respond, clients=1, texts=("ä",), dialect=dialect)
    assert asked == [(path, body)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "expected one of the two"),
        ({"clients": 1, "rate": 1.0}, "expected one of the two"),
        ({"clients": 1, "texts": ()}, "texts: none"),
    ],
)
def test_an_order_that_is_no_load_is_refused(fields: dict[str, Any], message: str) -> None:
    order = {"port": 1, "dialect": "text", "texts": ("a",), "seconds": 1.0} | fields
    with pytest.raises(ValueError, match=message):
        asyncio.run(generate(LoadOrder.model_validate(order)))


def test_command_reads_an_order_and_prints_what_it_saw(tmp_path: Path) -> None:
    order = LoadOrder(port=1, dialect="classify", texts=("a",), clients=1, seconds=0.05)
    path = tmp_path / "order.json"
    path.write_text(order.model_dump_json())
    command = [sys.executable, "-m", "benchmarks.serving.load", str(path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True)
    assert Load.model_validate_json(done.stdout).outcomes == {"ConnectionRefusedError": 1}
