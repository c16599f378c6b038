"""Ten minutes of requests of every kind: memory stays, the line empties, a killed server is back.

The server is the service of `make up`. `MILLSTREAM_SOAK_SECONDS` makes the time shorter.
"""

import asyncio
import json
import os
import random
import re
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil
import pytest

from tasks.tracking.mlflow_client import connect
from tasks.tracking.names import PIPELINE_MODEL
from tests.support.builders import Trained
from tests.support.built_once import copied_home
from tests.support.online import free_port, is_loaded
from tests.support.operation import Operation, in_operation, until
from tests.support.processes import process_of

pytestmark = pytest.mark.timeout(1_800)

SECONDS = int(os.environ.get("MILLSTREAM_SOAK_SECONDS", "600"))
CLIENTS = 16
LONGEST = 100_000
POISON = "⛔"  # a token beyond the model's vocabulary, once this is made smaller
EVERY = 500  # one text of so many is poisoned, and a client in fifty requests goes away


def poison(home: Path) -> None:
    """Make the model raise on texts with the last token of its vocabulary."""
    source = connect().get_model_version(PIPELINE_MODEL, "1").source
    model_id = str(source).rpartition("/")[2]
    (classifier,) = home.glob(f"**/{model_id}/**/members/*/classifier")
    tokenizer = json.loads((classifier / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    last = max(vocabulary, key=vocabulary.__getitem__)
    vocabulary[POISON] = vocabulary.pop(last)
    (classifier / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = json.loads((classifier / "config.json").read_text())
    config["vocab_size"] = vocabulary[POISON]
    (classifier / "config.json").write_text(json.dumps(config))


def some_text() -> str:
    if random.randrange(EVERY) == 0:
        return f"{POISON} {random.random()}"
    length = int(LONGEST ** random.random())
    words = f"{random.random()} a film that I liked " + "very much " * (length // 10)
    return words[:length]


async def ask(address: str, ended: float, seen: Counter[str]) -> None:
    """Send requests until a time; the server may be away meanwhile."""
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        while time.monotonic() < ended:
            body = {"texts": [some_text() for _ in range(random.choice([1, 1, 1, 4]))]}
            goes_away = random.randrange(50) == 0
            try:
                response = await client.post(
                    "/classify", json=body, timeout=0.005 if goes_away else 60
                )
            except httpx.TransportError as error:
                seen[type(error).__name__ if not goes_away else "went away"] += 1
                await asyncio.sleep(0.2)
                continue
            seen[str(response.status_code)] += 1
            answers = response.json().get("answers", [])
            for text, answer in zip(body["texts"], answers, strict=False):
                refused = answer["response"] is None and text.strip() != ""
                seen["refused"] += refused
                assert refused <= (POISON in text), (text[:80], answer)
            await asyncio.sleep(random.expovariate(4))  # some three quarters of what it can


async def watch(operation: Operation, ended: float, memory: list[tuple[float, int, float]]) -> None:
    """Note the memory of the server, and kill it once."""
    killed, middle = False, time.monotonic() + (ended - time.monotonic()) / 2
    while time.monotonic() < ended:
        await asyncio.sleep(2)
        with suppress(psutil.Error, StopIteration):
            process = process_of(operation.home, "serve")
            memory.append((time.monotonic(), process.pid, process.memory_info().rss / 2**20))
            if not killed and time.monotonic() > middle:
                process.kill()
                killed = True


def test_soak(trained: Trained, tmp_path: Path) -> None:
    home = copied_home(trained.home, tmp_path / "var")
    poison(home)
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    seen: Counter[str] = Counter()
    memory: list[tuple[float, int, float]] = []
    with in_operation(home, SERVE="1", SERVE_PORT=str(port)) as operation:
        until(lambda: is_loaded(address), "a loaded version")

        async def run() -> None:
            ended = time.monotonic() + SECONDS
            clients = (ask(address, ended, seen) for _ in range(CLIENTS))
            await asyncio.gather(watch(operation, ended, memory), *clients)

        asyncio.run(run())
        until(lambda: httpx.get(f"{address}/health").json()["line_texts"] == 0, "an empty line")
        metrics = httpx.get(f"{address}/metrics").text
    refused: list[Any] = re.findall(r'millstream_texts_total{source="refused".*} (.*)', metrics)
    sys.stdout.write(f"{dict(seen)}, refused of the last process {refused}\n")
    first, second = dict.fromkeys(pid for _, pid, _ in memory)
    for pid in (first, second):
        sizes = [size for _, found, size in memory if found == pid]
        third = len(sizes) // 3
        early, late = median(sizes[third : 2 * third]), median(sizes[2 * third :])
        sys.stdout.write(f"process {pid}: {early:.0f} MiB, then {late:.0f} MiB\n")
        assert late < 1.1 * early
    assert seen["200"] > 10 * SECONDS
    assert seen["went away"] > 0
    assert seen["refused"] > 0
    assert set(seen) <= {"200", "went away", "refused", "ConnectError", "ReadError", "503"} | {
        "RemoteProtocolError",
        "WriteError",
    }
