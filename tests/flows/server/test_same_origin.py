"""Requests as browsers and programs send them, to an application behind the middleware."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket

from flows.server.same_origin import SameOriginMiddleware

LOOPBACK = "127.0.0.1:4200"
OUR_PAGE = {"host": LOOPBACK, "origin": f"http://{LOOPBACK}", "sec-fetch-site": "same-origin"}
A_LINK = {
    "host": LOOPBACK,
    "sec-fetch-site": "cross-site",
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "document",
}


async def answer(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("done")


async def converse(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("done")
    await socket.close()


def client(bound: str = "127.0.0.1", origins: tuple[str, ...] = ()) -> TestClient:
    routes = [
        Route("/", answer, methods=["GET", "POST", "OPTIONS"]),
        WebSocketRoute("/events", converse),
    ]
    app = Starlette(routes=routes)
    app.add_middleware(SameOriginMiddleware, bound=bound, origins=origins)
    return TestClient(app)


def statuses(headers: Mapping[str, str], **options: Any) -> set[int]:
    """Return the statuses of a POST and of a WebSocket's handshake; 101 is an open one."""
    with client(**options) as server:
        found = {server.post("/", headers=dict(headers)).status_code}
        try:
            with server.websocket_connect("/events", headers=dict(headers)) as socket:
                assert socket.receive_text() == "done"
            return found | {101}
        except WebSocketDenialResponse as refusal:
            return found | {refusal.status_code}


@pytest.mark.parametrize(
    "headers",
    [
        {"host": LOOPBACK},
        {"host": "localhost:4200"},
        {"host": "[::1]:4200"},
        OUR_PAGE,
        OUR_PAGE | {"host": "LOCALHOST:4200", "origin": "http://localhost:4200"},
        {"host": LOOPBACK, "sec-fetch-site": "none"},
        {"host": "localhost", "origin": "http://localhost"},
        {"host": "localhost", "origin": "https://localhost"},  # a proxy has the certificate
    ],
)
def test_programs_and_our_pages_are_answered(headers: dict[str, str]) -> None:
    assert statuses(headers) == {200, 101}


@pytest.mark.parametrize(
    "headers",
    [
        OUR_PAGE | {"origin": "http://evil.example"},
        OUR_PAGE | {"origin": "http://evil.example:4200"},
        OUR_PAGE | {"origin": "http://127.0.0.1:8000"},
        OUR_PAGE | {"origin": "http://127.0.0.1"},
        OUR_PAGE | {"origin": "http://localhost:4200"},
        OUR_PAGE | {"origin": f"http://{LOOPBACK}.evil.example"},
        OUR_PAGE | {"origin": f"http://{LOOPBACK}@evil.example"},
        OUR_PAGE | {"origin": f"chrome-extension://{LOOPBACK}"},
        OUR_PAGE | {"origin": "null"},
        OUR_PAGE | {"origin": ""},
        {"host": LOOPBACK, "sec-fetch-site": "cross-site"},
        {"host": LOOPBACK, "sec-fetch-site": "same-site"},
        {"host": LOOPBACK, "sec-fetch-site": "something-new"},
        A_LINK,  # by POST, and of a WebSocket
        {"host": "evil.example"},
        {"host": "evil.example:4200", "origin": "http://evil.example:4200"},
        {"host": "10.0.0.5:4200"},
        {"host": "127.0.0.1.evil.example:4200"},
        {"host": "localhost@evil.example"},
        {"host": "[::1"},
        {"host": f"someone@{LOOPBACK}"},
        {"host": f"{LOOPBACK}#evil.example"},
        {"host": f"{LOOPBACK}/evil.example"},
        {"host": f"{LOOPBACK},evil.example"},
        {"host": "localhost:evil.example"},
        {"host": f"someone@{LOOPBACK}", "origin": f"http://someone@{LOOPBACK}"},
        {"host": ""},
    ],
)
def test_pages_of_other_sites_are_refused(headers: dict[str, str]) -> None:
    assert statuses(headers) == {403}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("origin", [f"http://{LOOPBACK}", "http://evil.example"]),
        ("sec-fetch-site", ["none", "cross-site"]),
        ("host", [LOOPBACK, "evil.example"]),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_a_header_that_is_sent_twice_is_refused(name: str, values: list[str], order: int) -> None:
    headers = [(name, value) for value in values[::order]]
    if name != "host":
        headers.append(("host", LOOPBACK))
    with client() as server:
        assert server.post("/", headers=headers).status_code == 403


def test_a_link_from_another_site_opens_a_page_but_in_no_frame() -> None:
    with client() as server:
        assert server.get("/", headers=A_LINK).status_code == 200
        assert server.get("/", headers=A_LINK | {"sec-fetch-dest": "iframe"}).status_code == 403
        assert server.get("/", headers=A_LINK | {"sec-fetch-mode": "no-cors"}).status_code == 403


def test_the_address_of_a_reverse_proxy_is_known_whether_or_not_it_keeps_the_host() -> None:
    page = {"origin": "https://runs.example.org", "sec-fetch-site": "same-origin"}
    for host in (LOOPBACK, "runs.example.org"):
        with_host = page | {"host": host}
        assert statuses(with_host, origins=("https://runs.example.org/ui/",)) == {200, 101}
        assert statuses(with_host, origins=("https://other.example.org",)) == {403}


@pytest.mark.parametrize(
    ("named", "sent"),
    [
        ("https://runs.example.org:443", "https://runs.example.org"),
        ("HTTP://Runs.Example.ORG:80/", "http://runs.example.org"),
        ("https://münchen.example:8443", "https://xn--mnchen-3ya.example:8443"),
        ("http://[2001:DB8:0::1]", "http://[2001:db8::1]"),
    ],
)
def test_an_origin_is_known_as_browsers_send_it(named: str, sent: str) -> None:
    assert statuses({"host": LOOPBACK, "origin": sent}, origins=(named,)) == {200, 101}


@pytest.mark.parametrize("malformed", ["http://[", "runs.example.org", "http://a:99999", "null"])
def test_a_malformed_origin_is_ignored_with_a_warning(
    caplog: pytest.LogCaptureFixture, malformed: str
) -> None:
    assert statuses({"host": LOOPBACK, "origin": malformed}, origins=(malformed,)) == {403}
    assert "is ignored; expected addresses" in caplog.text


def test_a_star_is_no_origin(caplog: pytest.LogCaptureFixture) -> None:
    assert statuses(OUR_PAGE | {"origin": "http://evil.example"}, origins=("*",)) == {403}
    assert "PREFECT_SERVER_CORS_ALLOWED_ORIGINS: * is ignored" in caplog.text


@pytest.mark.parametrize("host", ["10.0.0.5:4200", "[fd00::5]:4200", "192.168.1.2"])
def test_a_server_at_every_address_knows_addresses_but_no_names(host: str) -> None:
    for everywhere in ("0.0.0.0", "::"):
        assert statuses({"host": host}, bound=everywhere) == {200, 101}
        assert statuses({"host": "evil.example:4200"}, bound=everywhere) == {403}


def test_a_server_at_one_address_knows_that_one() -> None:
    assert statuses({"host": "10.0.0.5:4200"}, bound="10.0.0.5") == {200, 101}
    assert statuses({"host": "10.0.0.6:4200"}, bound="10.0.0.5") == {403}
    # As a browser shortens it.
    assert statuses({"host": "[fd00::5]:4200"}, bound="FD00:0:0::0005") == {200, 101}


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
def test_no_origin_but_ours_is_answered(origin: str) -> None:
    headers = {"host": LOOPBACK, "origin": origin}
    same = origin.strip().lower() in {f"http://{LOOPBACK}", f"https://{LOOPBACK}"}
    assert statuses(headers) == ({200, 101} if same else {403})


def test_the_message_names_header_value_and_setting(caplog: pytest.LogCaptureFixture) -> None:
    with client() as server:
        found = server.post("/", headers={"host": LOOPBACK, "origin": "http://evil.example"})
    expected = (
        "Origin 'http://evil.example': another site than '127.0.0.1:4200'; "
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS adds one"
    )
    assert found.text == expected
    assert f"'/': refused, {expected}" in caplog.text
