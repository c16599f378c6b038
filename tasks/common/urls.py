"""URLs that users give: what of them may be shown, and how a login is kept out of them."""

import re

from tasks.common.errors import ParameterError

# Not urllib's: its errors quote what it cannot read, which may belong to a password.
_URL = re.compile(
    r"\s*(?P<scheme>[a-z][a-z0-9+.-]*:)?(?<![^:])/{1,2}(?P<place>[^/?#\\]*)(?P<path>[^?#]*)"
    r"(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_HOST = re.compile(r"([^:@\[\]]*|\[[0-9a-f:.%]+\])(:\d{0,5})?", re.IGNORECASE)
HIDDEN = "…"


def is_url(source: str) -> bool:
    """Return whether `source` is an address to download from, and no name or path."""
    return source.lower().startswith(("http://", "https://"))


def has_password(url: str) -> bool:
    """Return whether a URL has, or may have, a password or a token in it."""
    login, _, _ = url.partition("://")[2].rpartition("@")
    if login.startswith("/"):  # of a file
        return False
    return ":" in login or (is_url(url) and login != "")


def path_of(url: str) -> str:
    """Return the path of a URL."""
    found = _URL.fullmatch(url)
    return found["path"] if found else ""


def public(source: str) -> str:
    """Return a URL fit for a message: without user name, password, parameters and fragment.

    What cannot be a URL, such as a path, stays as it is.
    """
    found = _URL.fullmatch(source)
    if found is None or not (found["scheme"] or source.lstrip().startswith("//")):
        # "name:password@host", perhaps.
        return re.sub(r"^[^/]*:.*@", HIDDEN + "@", source, flags=re.DOTALL)
    scheme, (login, _, host) = found["scheme"] or "", found["place"].rpartition("@")
    path = found["path"].split(";")[0]
    if "@" in found["path"] + found["rest"]:
        # In "http://user:pass/word@host" the login goes on after the first slash.
        host, path = (HIDDEN if ":" in host or login else host), f"/{HIDDEN}"
    elif not _HOST.fullmatch(host):
        host, path = HIDDEN, ""
    return f"{scheme}//{host}{path}"


def without_login(source: str) -> str:
    """Return the value of a parameter if it is no URL with a user name or password in it.

    Prefect stores parameters as they were given.

    Raises:
        ParameterError: If it is one.
    """
    found = _URL.fullmatch(source)
    if found and found["scheme"] and "@" in found["place"]:
        raise ParameterError(
            f"{public(source)}: given with a user name or password; "
            "expected those in ~/.netrc, since the parameters of a run are stored"
        )
    return source
