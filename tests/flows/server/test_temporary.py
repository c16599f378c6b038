"""The server that Prefect starts for a command or a test, where no other is named."""

import httpx
import pytest
from prefect.settings import PREFECT_API_URL
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

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
