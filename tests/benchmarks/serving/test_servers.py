"""The compared servers: their texts, the code of an earlier commit, and their processes."""

import os
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import httpx
import pytest

from benchmarks.plan import QUICK, LoadPlan
from benchmarks.serving import earlier
from benchmarks.serving.distinct import distinct_texts
from benchmarks.serving.earlier import copy_with_earlier_code
from benchmarks.serving.names import CLASSIFY, SERVERS, UnavailableError
from benchmarks.serving.processes import bound_to_cores, running
from tasks.common.settings import REPOSITORY

PING = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(len(os.sched_getaffinity(0))).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def ping_server(port: int) -> list[str]:
    return [sys.executable, "-c", PING, str(port)]


def ping(port: int, timeout: float = 5.0) -> str:
    return httpx.get(f"http://127.0.0.1:{port}/ping", timeout=timeout).text


def test_distinct_texts_go_on_with_two_words_swapped() -> None:
    texts = ["a great film", "one", "two hours of it", "a great film"]
    found = list(islice(distinct_texts(texts, 1), 8))
    assert found[:3] == ["a great film", "one", "two hours of it"]
    assert len(set(found)) == 8
    words = {tuple(sorted(text.split())) for text in texts}
    assert {tuple(sorted(text.split())) for text in found} == words
    assert found == list(islice(distinct_texts(texts, 1), 8))


def test_distinct_texts_that_run_out_are_an_error() -> None:
    with pytest.raises(ValueError, match="3 distinct texts; expected more"):
        list(distinct_texts(["one", "two words"], 1))


def test_earlier_code_replaces_what_a_model_ships(tmp_path: Path) -> None:
    shipped = tmp_path / "model" / "artifacts" / "pipeline" / "pyfunc"
    shipped.mkdir(parents=True)
    (shipped / "later.py").write_text("")
    (shipped.parent / "pipeline.json").write_text("{}")
    (tmp_path / "model" / "model.py").write_text("")
    try:
        copy = copy_with_earlier_code(tmp_path / "model", tmp_path / "copy")
    except UnavailableError:
        pytest.skip("a shallow clone")
    code = copy / "artifacts" / "pipeline" / "pyfunc"
    assert (copy / "artifacts" / "pipeline" / "pipeline.json").read_text() == "{}"
    assert not (code / "later.py").exists()
    assert (copy / "model.py").read_text() == (code / "model.py").read_text()
    command = ["git", "show", f"{earlier.COMMIT}:pyfunc/model.py"]
    expected = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True).stdout
    assert (code / "model.py").read_text() == expected != ""


def test_a_commit_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earlier, "COMMIT", "0" * 40)
    with pytest.raises(UnavailableError, match="commit 0000000 is not here"):
        copy_with_earlier_code(tmp_path / "model", tmp_path / "copy")


def test_a_server_is_paused_resumed_and_ended(tmp_path: Path) -> None:
    with running(ping_server, tmp_path / "server") as server:
        ping(server.port)
        server.pause()
        with pytest.raises(httpx.ReadTimeout):
            ping(server.port, timeout=0.3)
        server.resume()
        ping(server.port)
        server.pause()
    assert server.process.poll() is not None
    with pytest.raises(httpx.TransportError):
        ping(server.port)


def test_a_server_that_ends_at_its_start_is_an_error(tmp_path: Path) -> None:
    started = time.monotonic()
    with (
        pytest.raises(RuntimeError, match="its log is"),
        running(lambda port: [sys.executable, "-c", "print('why')"], tmp_path / "server"),
    ):
        pass
    assert (tmp_path / "server" / "log").read_text() == "why\n"
    assert time.monotonic() - started < 20


def test_servers_are_bound_to_cores_and_this_process_is_not(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    with bound_to_cores(1) as cores, running(ping_server, tmp_path / "server") as server:
        assert cores == 1
        assert ping(server.port) == "1"
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("plan", [LoadPlan(), QUICK.load])
def test_plan_has_the_loads_of_the_targets(plan: LoadPlan) -> None:
    assert 8 in plan.clients
    assert 1 in plan.clients
    assert 0.75 in plan.shares
    for model in plan.models:
        assert set(model.open) <= set(model.closed) <= set(SERVERS)
        assert CLASSIFY in model.open


def test_whole_plan_takes_less_than_45_minutes() -> None:
    plan = LoadPlan()
    closed = (plan.closed_seconds + plan.warm_up + 1) * plan.rounds * (len(plan.clients) + 1)
    opened = (plan.open_seconds + plan.warm_up + 1) * len(plan.shares)
    starts = 20
    seconds = sum(
        len(model.closed) * (closed + starts) + len(model.open) * opened for model in plan.models
    )
    assert seconds < 45 * 60
