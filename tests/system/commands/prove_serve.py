"""`python -m deployments.serve` as a process: signals, several processes, any request."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.builders import Trained

START_TIMEOUT_S = 90


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def command(port: int, *options: str) -> list[str]:
    return [sys.executable, "-m", "deployments.serve", "--port", str(port), *options]


@contextmanager
def server(folder: Path, *options: str) -> Iterator[tuple[httpx.Client, "subprocess.Popen[bytes]"]]:
    port = free_port()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command(port, *options), stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            deadline = time.monotonic() + START_TIMEOUT_S
            while not answers(client):
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.2)
            yield client, process
    finally:
        for child in psutil.Process(process.pid).children() if process.poll() is None else []:
            child.kill()
        process.kill()
        process.wait()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/ping").status_code == 200
    except httpx.TransportError:
        return False


def test_a_signal_ends_it_after_what_it_took_is_answered(trained: Trained, tmp_path: Path) -> None:
    texts = [f"a film of {number} minutes" for number in range(500)]
    with server(tmp_path) as (client, process), ThreadPoolExecutor(4) as threads:
        body = {"texts": texts, "use_cache": False}
        asking = [threads.submit(client.post, "/classify", json=body) for _ in range(4)]
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        found = [one.result() for one in asking]
        assert process.wait(30) in (0, -signal.SIGTERM)
    assert [response.status_code for response in found] == [200] * 4
    assert [len(response.json()["answers"]) for response in found] == [500] * 4
    assert "film" not in (tmp_path / "log").read_text()


def test_processes_share_the_address_and_a_killed_one_is_replaced(
    trained: Trained, tmp_path: Path
) -> None:
    with server(tmp_path, "--workers", "2") as (client, process):
        parent = psutil.Process(process.pid)

        def servers() -> set[int]:
            alive = (child for child in parent.children() if child.status() != psutil.STATUS_ZOMBIE)
            return {child.pid for child in alive if "spawn_main" in " ".join(child.cmdline())}

        before = servers()
        assert len(before) == 2
        os.kill(min(before), signal.SIGKILL)
        deadline = time.monotonic() + START_TIMEOUT_S
        while len(servers() - {min(before)}) < 2 or not answers(client):
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
        for number in range(20):
            with httpx.Client(base_url=client.base_url, timeout=30) as other:
                response = other.post("/classify", json={"texts": [f"text {number}"]})
                assert response.status_code in (200, 503)
        counted = [
            float(line.rsplit(" ", 1)[1])
            for line in client.get("/metrics").text.splitlines()
            if line.startswith('millstream_requests_total{path="/classify"')
        ]
        assert sum(counted) == 20


@pytest.mark.parametrize(
    ("host", "options", "expected"),
    [
        ("0.0.0.0", (), "MILLSTREAM_SERVE_TOKEN: missing, and MILLSTREAM_HOST is 0.0.0.0"),
        ("127.0.0.1", ("--model-uri", "models:/"), "model_uri: 'models:/'; expected"),
        ("127.0.0.1", ("--split-key", "id"), "split_key: 'id' without a split"),
        ("127.0.0.1", ("--deadline-seconds", "0"), "deadline-seconds"),
        ("127.0.0.1", ("--record", "/dev/null/online"), "record: "),
    ],
)
def test_what_is_wrong_is_said_in_a_line_before_anything_is_loaded(
    trained: Trained, host: str, options: tuple[str, ...], expected: str
) -> None:
    environment = os.environ | {"MILLSTREAM_HOST": host}
    ended = subprocess.run(
        command(free_port(), *options), env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode in (2, 6)
    assert ended.stderr.startswith("error: ")
    assert expected in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_port_in_use_is_said_in_a_line(trained: Trained) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = subprocess.run(command(port), capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert f"SERVE_PORT: 127.0.0.1:{port} cannot be listened on" in ended.stderr


def test_requests_made_from_the_schema_find_no_fault(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(
        # A deadline may be too short, and a schema cannot say which columns a version reads.
        '[checks.not_a_server_error]\nexpected-statuses = ["2xx", "3xx", "4xx", "504"]\n'
        "[checks.positive_data_acceptance]\nenabled = false\n"
    )
    with server(tmp_path) as (client, _):
        found = subprocess.run(
            [
                str(Path(sys.executable).parent / "schemathesis"),
                "run",
                f"{client.base_url}/openapi.json",
                "--max-examples=50",
                "--phases=examples,coverage,fuzzing",
                "--no-color",
            ],
            capture_output=True,
            text=True,
            timeout=280,
            cwd=tmp_path,
        )
        assert found.returncode == 0, found.stdout[-4_000:]
        assert "Warnings" not in found.stdout
