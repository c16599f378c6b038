"""`python -m benchmarks.serving.load ORDER.json`: a load generator, in a process of its own.

It prints what it saw as JSON. In a closed loop each client waits for its answer before it sends
the next request. In an open loop requests arrive by a Poisson process, whether or not earlier
ones are answered, and latencies count from the scheduled arrival: what waits because the server
or the generator is behind is seen.
"""

import asyncio
import gc
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.serving.connection import Connection, post
from benchmarks.serving.measured import OK, Dialect, Load, LoadOrder
from benchmarks.timing import percentile

_LONGEST_IDLE_S = 2.0  # uvicorn closes a connection after 5
_PAUSE_AFTER_ERROR_S = 0.01  # a server that is gone would be asked again without end

BODIES: dict[Dialect, tuple[str, Callable[[str], Any]]] = {
    "classify": ("/classify", lambda text: {"texts": [text]}),
    "invocations": (
        "/invocations",
        lambda text: {"dataframe_split": {"columns": ["text"], "data": [[text]]}},
    ),
    "text": ("/predict", lambda text: {"text": text}),
}


def request_of(dialect: Dialect, text: str) -> bytes:
    """Return the request for a text."""
    path, body = BODIES[dialect]
    return post(path, json.dumps(body(text)).encode())


async def generate(order: LoadOrder) -> Load:
    """Generate a load, and return what was seen.

    Raises:
        ValueError: If the order has both a rate and clients, or neither, or too few texts.
    """
    if bool(order.clients) == bool(order.rate):
        raise ValueError(f"clients {order.clients}, rate {order.rate}: expected one of the two")
    if not order.texts:
        raise ValueError("texts: none; expected at least one")
    generator = _Generator(order)
    gc.freeze()
    try:
        await (generator.run_clients() if order.clients else generator.run_arrivals())
    finally:
        gc.unfreeze()
        generator.close()
    return generator.summary()


class _Generator:
    """A load, and what is seen of it; times are those of `time.perf_counter`."""

    def __init__(self, order: LoadOrder) -> None:
        self._order = order
        self._draw = random.Random(order.seed)
        self._requests = self._each_request([request_of(order.dialect, t) for t in order.texts])
        self._idle: list[Connection] = []
        self._slots = asyncio.Semaphore(order.connections)
        self._in_use = 0
        self._most = 0
        self._waited = 0
        self._outcomes: Counter[str] = Counter()
        self._latencies: list[float] = []
        self._lateness: list[float] = []
        self._began = time.perf_counter()
        self._counted_from = self._began + order.warm_up
        self._until = self._counted_from + order.seconds
        self._ended = self._began
        self._ran_out = False
        self._cpu: float | None = None

    async def run_clients(self) -> None:
        """Run the closed loop."""
        await asyncio.gather(*(self._client() for _ in range(self._order.clients)))

    async def run_arrivals(self) -> None:
        """Run the open loop, and wait for the answers to all that arrived."""
        async with asyncio.TaskGroup() as arrivals:
            for at, request in zip(self._arrivals(), self._requests, strict=False):
                if (pause := at - time.perf_counter()) > 0:
                    await asyncio.sleep(pause)
                arrivals.create_task(self._arrival(at, request))

    def summary(self) -> Load:
        """Return what was seen.

        Raises:
            ValueError: If the texts ran out in the warm-up.
        """
        if self._ran_out and self._ended <= self._counted_from:
            texts = len(self._order.texts)
            raise ValueError(f"texts: {texts} ran out in the warm-up; expected more")
        found = self._latencies
        p50, p99, p999, slowest = (
            1_000 * percentile(found, percent) if found else None for percent in (50, 99, 99.9, 100)
        )
        ended = self._ended if self._ran_out else max(self._ended, self._until)
        return Load(
            seconds=ended - self._counted_from,
            outcomes=dict(self._outcomes),
            p50=p50,
            p99=p99,
            p999=p999,
            slowest=slowest,
            cpu_seconds=time.process_time() - self._cpu if self._cpu else 0.0,
            connections=self._most,
            rate=self._order.rate or None,
            waited=self._waited,
            lateness=1_000 * percentile(self._lateness, 99) if self._lateness else None,
        )

    def close(self) -> None:
        """Close the connections."""
        for connection in self._idle:
            connection.close()

    async def _client(self) -> None:
        for request in self._requests:
            at = time.perf_counter()
            if at >= self._until:
                return
            if await self._exchange(request, at) != OK:
                await asyncio.sleep(_PAUSE_AFTER_ERROR_S)

    async def _arrival(self, at: float, request: bytes) -> None:
        if self._slots.locked():
            self._waited += at >= self._counted_from
        async with self._slots:
            if at >= self._counted_from:
                self._lateness.append(time.perf_counter() - at)
            await self._exchange(request, at)

    async def _exchange(self, request: bytes, at: float) -> str:
        """Send a request that was due at a time, and note its outcome."""
        if self._cpu is None and at >= self._counted_from:
            self._cpu = time.process_time()
        self._in_use += 1
        self._most = max(self._most, self._in_use)
        try:
            outcome = await self._send(request)
        finally:
            self._in_use -= 1
        ended = time.perf_counter()
        if self._is_counted(at, ended, outcome):
            self._ended = max(self._ended, ended)
            self._outcomes[outcome] += 1
            if outcome == OK:
                self._latencies.append(ended - at)
        return outcome

    def _is_counted(self, at: float, ended: float, outcome: str) -> bool:
        """Return whether a request that was due at a time is counted.

        A closed loop counts what ends in its time: by the starts, the last requests of all clients
        would be left out. An open loop counts what was due in its time, however late it ends.
        """
        if self._order.rate:
            return at >= self._counted_from
        return ended >= self._counted_from and (ended <= self._until or outcome != OK)

    async def _send(self, request: bytes) -> str:
        try:
            connection = self._idle_connection() or await Connection.open(self._order.port)
            status = await connection.send(request, self._order.timeout)
        except TimeoutError:
            return "timeout"
        except OSError as error:
            return type(error).__name__
        if connection.is_open:
            self._idle.append(connection)
        return str(status)

    def _idle_connection(self) -> Connection | None:
        """Return the connection that was used last, unless the server may be closing it."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and connection.idle_s() < _LONGEST_IDLE_S:
                return connection
            connection.close()
        return None

    def _arrivals(self) -> Iterator[float]:
        at = self._began
        while (at := at + self._draw.expovariate(self._order.rate)) < self._until:
            yield at

    def _each_request(self, requests: list[bytes]) -> Iterator[bytes]:
        if not self._order.repeat:
            yield from requests
            self._ran_out = True
            return
        for _ in count():
            yield self._draw.choice(requests)


def main() -> None:
    """Generate the load that a file orders, and print what was seen."""
    order = LoadOrder.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.stdout.write(asyncio.run(generate(order)).model_dump_json() + "\n")


if __name__ == "__main__":
    main()
