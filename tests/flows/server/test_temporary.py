"""The server that Prefect starts for a command or a test, where no other is named."""

from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI
from prefect.settings import PREFECT_API_URL
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from flows.server.app import create_app
from flows.server.same_origin import SameOriginMiddleware
from flows.server.temporary import MAX_LOG_BYTES, start_uvicorn
from tests.support.operation import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_harness")]

FROM_ANOTHER_SITE = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}


def test_no_other_site_makes_a_flow() -> None:
    url, body = f"{PREFECT_API_URL.value()}/flows/", b'{"name": "by-another-site"}'
    assert httpx.post(url, content=body, headers=FROM_ANOTHER_SITE).status_code == 403
    assert httpx.post(url, content=body, headers={"Host": "evil.example"}).status_code == 403
    found = httpx.post(f"{url}filter", json={"flows": {"name": {"any_": ["by-another-site"]}}})
    assert found.json() == []


def test_no_other_site_reads_events() -> None:
    url = f"{PREFECT_API_URL.value()}/events/out".replace("http://", "ws://")
    with pytest.raises(InvalidStatus, match="403"):
        connect(url, origin="http://evil.example", proxy=None)  # type: ignore[arg-type]
    connect(url, proxy=None).close()


def test_what_the_server_says_as_it_ends_is_in_a_file_and_not_on_the_terminal(
    home: Path, free_port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    process = start_uvicorn(SimpleNamespace(port=free_port))
    try:
        for stream in (1, 2):
            output = Path(f"/proc/{process.pid}/fd/{stream}").readlink()
            assert output == home / "logs" / "temporary-server.log"
    finally:
        process.kill()
        process.wait()
    assert capfd.readouterr() == ("", "")


def test_the_log_of_the_server_stays_small(home: Path, free_port: int) -> None:
    log = home / "logs" / "temporary-server.log"
    log.parent.mkdir(parents=True)
    for size, kept in ((MAX_LOG_BYTES, MAX_LOG_BYTES), (MAX_LOG_BYTES + 1, 0)):
        log.write_bytes(b"x" * size)
        process = start_uvicorn(SimpleNamespace(port=free_port))
        process.kill()
        process.wait()
        assert log.read_bytes().count(b"x") == kept


@pytest.fixture
def free_port() -> int:
    (port,) = free_ports(1)
    return port


def test_prefect_calls_its_own_application_within_the_process() -> None:
    """As automations do; it names a host that no request from outside may name."""
    assert isinstance(create_app(final=True), SameOriginMiddleware)
    assert isinstance(create_app(), FastAPI)
