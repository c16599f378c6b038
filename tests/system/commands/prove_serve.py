"""`python -m deployments.serve` as a process: signals, several processes, any request."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.builders import Trained
from tests.support.online import (
    START_TIMEOUT_S,
    free_port,
    is_loaded,
    online_server,
    serve_command,
)


def test_a_signal_ends_it_after_what_it_took_is_answered(trained: Trained, tmp_path: Path) -> None:
    texts = [f"a film of {number} minutes" for number in range(500)]
    body = {"texts": texts, "use_cache": False}
    with online_server(tmp_path) as server, ThreadPoolExecutor(4) as threads:
        asking = [
            threads.submit(httpx.post, f"{server.address}/classify", json=body, timeout=60)
            for _ in range(4)
        ]
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        found = [one.result() for one in asking]
        assert server.process.wait(30) in (0, -signal.SIGTERM)
    assert [response.status_code for response in found] == [200] * 4
    assert [len(response.json()["answers"]) for response in found] == [500] * 4
    assert "film" not in server.log.read_text()


def test_processes_share_the_address_and_a_killed_one_is_replaced(
    trained: Trained, tmp_path: Path
) -> None:
    with online_server(tmp_path, "--workers", "2") as server:
        parent = psutil.Process(server.process.pid)

        def servers() -> set[int]:
            alive = (child for child in parent.children() if child.status() != psutil.STATUS_ZOMBIE)
            return {child.pid for child in alive if "spawn_main" in " ".join(child.cmdline())}

        before = servers()
        assert len(before) == 2
        cores = {pid: set(psutil.Process(pid).cpu_affinity() or []) for pid in before}
        available = set(parent.cpu_affinity() or [])
        assert set().union(*cores.values()) == available
        if len(available) > 1:
            assert sum(map(len, cores.values())) == len(available)
        os.kill(min(before), signal.SIGKILL)
        deadline = time.monotonic() + START_TIMEOUT_S
        while len(servers() - {min(before)}) < 2 or not is_loaded(server.address):
            assert time.monotonic() < deadline, server.log.read_text()
            time.sleep(0.2)
        assert set().union(*(psutil.Process(pid).cpu_affinity() or [] for pid in servers())) == (
            available
        )
        for number in range(20):
            body = {"texts": [f"text {number}"]}
            response = httpx.post(f"{server.address}/classify", json=body, timeout=30)
            assert response.status_code in (200, 503)  # the new process may still load
        counted = [
            float(line.rsplit(" ", 1)[1])
            for line in httpx.get(f"{server.address}/metrics").text.splitlines()
            if line.startswith('millstream_requests_total{path="/classify"')
        ]
        assert sum(counted) == 20


def test_processes_end_with_the_one_that_started_them(trained: Trained, tmp_path: Path) -> None:
    with online_server(tmp_path, "--workers", "2") as server:
        children = psutil.Process(server.process.pid).children(recursive=True)
        server.process.kill()
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", int(server.address.rpartition(":")[2])))


def exchange(address: str, content: bytes) -> bytes:
    """Send bytes, and return what comes back until the server closes the connection."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(content)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_slow_foreign_and_malformed_requests_are_refused_by_a_line_of_json(
    trained: Trained, tmp_path: Path
) -> None:
    post = b"POST /classify HTTP/1.1\r\nConnection: close\r\nContent-Type: application/json\r\n"
    known = b"Host: 127.0.0.1\r\n"
    slow = b"X-Deadline-Seconds: 0.5\r\nContent-Length: 15\r\n\r\n{"
    body = b'Content-Length: 15\r\n\r\n{"texts":["a"]}'
    with online_server(tmp_path) as server:
        for content, status, error in (
            (post + known + body, 200, b""),
            (post + known + slow, 408, b"the body did not arrive within 0.5 s"),
            (post + b"Host: evil.example\r\n" + body, 403, b"not a name of this server"),
            (post + known + b"Origin: http://evil.example\r\n" + body, 403, b"another site"),
            (post + known + b"Content-Length: -1\r\n\r\n", 400, b"Invalid HTTP request"),
            (b"\x00\x01\x02\r\n\r\n", 400, b"Invalid HTTP request"),
        ):
            head, _, answer = exchange(server.address, content).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 %d " % status), (head, answer)
            assert b"content-type: application/json" in head
            assert error in answer
            assert json.loads(answer)
        assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize(
    ("host", "options", "expected"),
    [
        ("0.0.0.0", (), "MILLSTREAM_SERVE_TOKEN: missing, and MILLSTREAM_HOST is 0.0.0.0"),
        ("127.0.0.1", ("--model-uri", "models:/"), "model_uri: 'models:/'; expected"),
        (
            "127.0.0.1",
            ("--model-uri", "99"),
            "model_uri: inference_pipeline_model: no version '99'",
        ),
        ("127.0.0.1", ("--split", "99=0.5"), "split: inference_pipeline_model: no version '99'"),
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
        serve_command(free_port(), *options),
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
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
        ended = subprocess.run(serve_command(port), capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert f"SERVE_PORT: 127.0.0.1:{port} cannot be listened on" in ended.stderr


def test_requests_made_from_the_schema_find_no_fault(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(
        # A deadline may be too short, and a schema cannot say which columns a version reads.
        '[checks.not_a_server_error]\nexpected-statuses = ["2xx", "3xx", "4xx", "504"]\n'
        "[checks.positive_data_acceptance]\nenabled = false\n"
    )
    with online_server(tmp_path) as server:
        found = subprocess.run(
            [
                str(Path(sys.executable).parent / "schemathesis"),
                "run",
                f"{server.address}/openapi.json",
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


def test_what_a_client_asked_before_it_went_away_is_dropped(
    trained: Trained, tmp_path: Path
) -> None:
    body = {"texts": [f"a film of {number} minutes" for number in range(1_000)], "use_cache": False}
    with online_server(tmp_path) as server:
        for _ in range(8):
            with suppress(httpx.ReadTimeout):
                httpx.post(
                    f"{server.address}/classify", json=body, timeout=httpx.Timeout(30, read=0.05)
                )
        deadline = time.monotonic() + 30
        while httpx.get(f"{server.address}/health").json()["line_texts"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        metrics = httpx.get(f"{server.address}/metrics").text
        answered = re.findall(r'millstream_texts_total{source="computed".*} (.*)', metrics)
        assert sum(map(float, answered)) < 8_000
        assert 'status="499"' in metrics
