"""ASGI middleware that refuses what a page of another site sends through a local browser.

CORS alone does not: a request that needs no preflight is executed, only its answer is withheld; a
WebSocket has no CORS at all; and a site whose DNS name resolves to this machine (DNS rebinding) is
of the same origin. Starlette's `TrustedHostMiddleware` checks names without ports or addresses,
and `asgi-cross-origin-protection` 0.1 neither WebSockets nor hosts.
"""

import logging
import re
from collections.abc import Callable, Collection
from functools import partial
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tasks.common.urls import is_origin, origin_of, redact_url

_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 -- compared, not bound
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_HOST = re.compile(r"(?:\[(?P<address>[^\[\]]+)\]|(?P<name>[^\s/?#@\\:,\[\]]+))(?::[0-9]{0,5})?")
_LONGEST_SHOWN = 100  # characters of a header in a message

logger = logging.getLogger(__name__)


class SameOriginMiddleware:
    """Refuse a foreign `Host`, `Origin` or `Sec-Fetch-Site` with 403, for HTTP and WebSockets.

    Programs send neither `Origin` nor `Sec-Fetch-Site`. A link from another site may open a page:
    https://web.dev/articles/fetch-metadata has this policy.

    Args:
        app: The application behind it.
        bound: The address that the server listens on. On all of them (`0.0.0.0`, `::`), every IP
            address is a known host, since a browser does not resolve it.
        origins: Other origins that may call, such as `https://runs.example.org` of a reverse proxy;
            their hosts are known hosts. `*` is not one, and a path behind one does not count.
        advice: What lets another name in, for the reason of a refusal.
        refuse: Returns the answer to a refused request for its reason; a plain text by default.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        bound: str,
        origins: Collection[str] = (),
        advice: str = "PREFECT_SERVER_CORS_ALLOWED_ORIGINS adds one",
        refuse: Callable[[str], Response] | None = None,
    ) -> None:
        self._app = app
        self._advice = advice
        self._refuse = refuse or partial(PlainTextResponse, status_code=403)
        self._any_address = bound in _EVERYWHERE
        named = {origin.strip() for origin in origins} - {""}
        self._origins = {origin_of(origin) for origin in named if is_origin(origin)}
        for ignored in sorted(origin for origin in named if not is_origin(origin)):
            logger.warning(
                "PREFECT_SERVER_CORS_ALLOWED_ORIGINS: %s is ignored; expected addresses such as "
                "https://runs.example.org, since any web page could run flows",
                redact_url(ignored),
            )
        named_hosts = {urlsplit(origin).hostname or "" for origin in self._origins}
        self._hosts = _LOOPBACK | {_normal(host) for host in {bound, *named_hosts}}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, or pass the request on."""
        asked = scope["type"] in ("http", "websocket")
        if asked and (reason := self._refusal(scope, Headers(scope=scope))):
            logger.warning("%r: refused, %s", scope["path"], reason)
            await self._refuse(reason)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> str:
        """Return why a request is refused, an empty string if it is not."""
        for name in ("Host", "Origin", "Sec-Fetch-Site"):
            if len(headers.getlist(name)) > 1:
                # Which one counts would depend on who reads it.
                return f"{name}: sent more than once; expected one"
        host = headers.get("host", "")
        if not self._is_known(_name_of(host)):
            return f"Host {_shown(host)}: not a name of this server; {self._advice}"
        origin = headers.get("origin")
        if origin is not None:
            if origin.lower() in self._origins or _authority_of(origin) == host.lower():
                return ""
            return f"Origin {_shown(origin)}: another site than {_shown(host)}; {self._advice}"
        site = headers.get("sec-fetch-site", "none")
        if site in ("none", "same-origin") or _is_link(scope, headers):
            return ""
        return f"Sec-Fetch-Site {_shown(site)}: sent by a page of another site"

    def _is_known(self, host: str) -> bool:
        return host in self._hosts or (self._any_address and _is_address(host))


def _is_link(scope: Scope, headers: Headers) -> bool:
    """Return whether a request opens a page as a whole window, not in a frame of another one."""
    return (
        scope["type"] == "http"
        and scope["method"] == "GET"
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )


def _name_of(host: str) -> str:
    """Return the name or address in a `Host` header, an empty string if it is malformed."""
    found = _HOST.fullmatch(host)
    return _normal(found["address"] or found["name"]) if found else ""


def _normal(host: str) -> str:
    """Return a host as browsers send it: in lower case, an IPv6 address in its shortest form."""
    try:
        return str(ip_address(host))
    except ValueError:
        return host.lower()


def _authority_of(origin: str) -> str:
    """Return host and port of an http(s) origin, as browsers send them as `Host`."""
    scheme, _, authority = origin.lower().partition("://")
    return authority if scheme in ("http", "https") else ""


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _shown(header: str) -> str:
    return repr(header[:_LONGEST_SHOWN])
