"""What a web page of another site can do to our servers; `make browser-test` runs it."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page
from prefect.server.api.server import SubprocessASGIServer

from tasks.common.settings import REPOSITORY
from tests.support.hostile_site import LISTEN, NAME, POST, SEND, hostile_site
from tests.support.operation import Operation, free_ports, in_operation, until
from tests.system.browser.chromium import open_window

pytestmark = pytest.mark.timeout(600)

MADE = "by-another-site"


@dataclass(frozen=True)
class Target:
    """A server of ours, and what a page would make with it.

    Attributes:
        address: Its URL.
        create: The path that makes something named `MADE`.
        search: The path and the JSON that find it.
        listen: The path of a WebSocket, or an empty string.
        page: The path of a page.
    """

    address: str
    create: str = "/api/flows/"
    search: tuple[str, dict[str, Any]] = ("/api/flows/filter", {})
    listen: str = "/api/events/out"
    page: str = "/"

    @property
    def port(self) -> str:
        return self.address.rpartition(":")[2]

    def has_it(self) -> bool:
        path, body = self.search
        found = httpx.post(self.address + path, json=body, timeout=90)
        found.raise_for_status()
        return MADE in found.text


MLFLOW = Target(
    "",
    create="/api/2.0/mlflow/experiments/create",
    search=("/api/2.0/mlflow/experiments/search", {"max_results": 100}),
    listen="",
)


@pytest.fixture(scope="module")
def operation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operation]:
    home = tmp_path_factory.mktemp("other-sites") / "var"
    home.mkdir()
    with in_operation(home) as operation:
        yield operation


@pytest.fixture(scope="module")
def window() -> Iterator[Page]:
    with open_window(NAME) as window:
        yield window


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with hostile_site() as address:
        yield address


@pytest.fixture(scope="module", params=["up", "up: MLflow", "prefect-ui", "mlflow-ui", "temporary"])
def target(
    request: pytest.FixtureRequest, operation: Operation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    match request.param:
        case "up":
            yield Target(f"http://127.0.0.1:{operation.prefect_port}")
        case "up: MLflow":
            yield replace(MLFLOW, address=f"http://127.0.0.1:{operation.mlflow_port}")
        case "prefect-ui":
            with made("prefect-ui", tmp_path_factory.mktemp("prefect")) as address:
                yield Target(address)
        case "mlflow-ui":
            with made("mlflow-ui", tmp_path_factory.mktemp("mlflow")) as address:
                yield replace(MLFLOW, address=address)
        case "temporary":
            with SubprocessASGIServer(port=free_ports(1)[0]) as server:
                yield replace(Target(server.address), page="/api/health")  # it has no other


@contextmanager
def made(name: str, folder: Path) -> Iterator[str]:
    """Run a target of the Makefile that serves one user interface; yields its address."""
    (port,) = free_ports(1)
    variable = f"{name.removesuffix('-ui').upper()}_PORT"
    address = f"http://127.0.0.1:{port}"
    home = {"MILLSTREAM_HOME": str(folder), variable: str(port)}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT", "MLFLOW"))}
    server = subprocess.Popen(
        ["make", name], cwd=REPOSITORY, env=inherited | home, start_new_session=True
    )
    try:
        until(lambda: answers(address), f"make {name}")
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)


def answers(address: str) -> bool:
    try:
        return httpx.get(address).is_success
    except httpx.TransportError:
        return False


def test_a_page_of_another_site_changes_and_hears_nothing(
    target: Target, site: str, window: Page
) -> None:
    window.goto(site)
    body = {"name": MADE}
    assert window.evaluate(POST, [target.address + target.create, body]) == "opaque"
    assert not target.has_it()
    if target.listen:
        heard = window.evaluate(LISTEN, target.address.replace("http", "ws") + target.listen)
        assert heard == "refused"


def test_a_name_of_another_site_that_leads_here_is_not_answered(
    target: Target, window: Page
) -> None:
    rebound = f"http://{NAME}:{target.port}"
    answer = window.goto(rebound)
    assert answer is not None
    assert window.evaluate(POST, [rebound + target.create, {"name": MADE}]) == "basic"
    assert not target.has_it()
    if target.listen:
        assert answer.status == 403
        heard = window.evaluate(LISTEN, rebound.replace("http", "ws") + target.listen)
        assert heard == "refused"


def test_a_link_of_another_site_opens_a_page(target: Target, site: str, window: Page) -> None:
    window.goto(site)
    with window.expect_navigation():
        window.evaluate("url => { location.href = url }", target.address + target.page)
    assert window.url.startswith(target.address)


def test_our_own_page_may_do_the_same(target: Target, window: Page) -> None:
    """The attacks are real: they work where they are allowed."""
    window.goto(f"{target.address}{target.page}")
    body = {"name": f"{MADE}-in-truth"}
    assert window.evaluate(SEND, [target.address + target.create, body]) in (200, 201)
    assert target.has_it()
    if target.listen:
        heard = window.evaluate(LISTEN, target.address.replace("http", "ws") + target.listen)
        assert heard == "open"
