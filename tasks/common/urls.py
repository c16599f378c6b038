"""URLs from users: redact passwords and tokens in messages, refuse logins, and URLs as paths."""

import re
from pathlib import Path
from urllib.parse import parse_qsl

from tasks.common.errors import ParameterError

# Not urllib: its errors quote the invalid part, which may belong to a password.
_URL = re.compile(
    r"\s*(?P<scheme>[a-z][a-z0-9+.-]*:)?(?<![^:])/{1,2}(?P<place>[^/?#\\]*)(?P<path>[^?#]*)"
    r"(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_HOST = re.compile(r"([^:@\[\]]*|\[[0-9a-f:.%]+\])(:\d{0,5})?", re.IGNORECASE)
_PASSWORD = re.compile(r"passw|pwd", re.IGNORECASE)
_HIDDEN = "…"

# Two letters or more, unlike a drive; `Path` makes one slash of two.
_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]+:/", re.IGNORECASE)


def is_url(source: str) -> bool:
    """Return whether `source` is an http(s) URL, not a name or path."""
    return source.lower().startswith(("http://", "https://"))


def local_path(parameter: str, text: str, expected: str) -> Path:
    """Return what a parameter names as a path on this machine, with the user's home for `~`.

    Args:
        parameter: Its name, for the error.
        text: Its value.
        expected: What it may be, for the error.

    Raises:
        ParameterError: If it is an address, such as `s3://bucket/key`, which would else become a
            folder `s3:`; or if it starts with the name of a user who has no home.
    """
    if _ADDRESS.match(text):
        raise ParameterError(
            f"{parameter}: {redact_url(text)!r} is no path on this machine; expected {expected}"
        )
    if not text.startswith("~"):  # `Path` drops a "./" in front of it
        return Path(text)
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        user = text.partition("/")[0]
        raise ParameterError(
            f"{parameter}: {text!r} needs the home of {user}, which has none; expected {expected}, "
            f"written ./{user} if that is its name"
        ) from error


def has_password(url: str) -> bool:
    """Return whether a URL has, or may have, a password or a token in it."""
    login, _, _ = url.partition("://")[2].rpartition("@")
    if login.startswith("/"):  # a file
        return False
    return ":" in login or (is_url(url) and login != "") or _has_password_field(url)


def url_path(url: str) -> str:
    """Return the path of a URL."""
    found = _URL.fullmatch(url)
    return found["path"] if found else ""


def redact_url(source: str) -> str:
    """Return a URL without user name, password, parameters and fragment, for a message.

    Other text, such as a path, is returned unchanged.
    """
    found = _URL.fullmatch(source)
    if found is None or not (found["scheme"] or source.lstrip().startswith("//")):
        # "name:password@host", perhaps.
        return re.sub(r"^[^/]*:.*@", _HIDDEN + "@", source, flags=re.DOTALL)
    scheme, (login, _, host) = found["scheme"] or "", found["place"].rpartition("@")
    path = found["path"].split(";")[0]
    if "@" in found["path"] + found["rest"]:
        # In "http://user:pass/word@host" the login continues after the first slash.
        host, path = (_HIDDEN if ":" in host or login else host), f"/{_HIDDEN}"
    elif not _HOST.fullmatch(host):
        host, path = _HIDDEN, ""
    return f"{scheme}//{host}{path}"


def refuse_login(source: str) -> str:
    """Return a parameter's value unless it is a URL with a user name or password.

    Prefect stores parameters unredacted.

    Raises:
        ParameterError: If it is such a URL.
    """
    found = _URL.fullmatch(source)
    if found and found["scheme"] and (_may_have_login(found) or _has_password_field(source)):
        raise ParameterError(
            f"{redact_url(source)}: given with a user name or password; "
            "expected those in ~/.netrc, since the parameters of a run are stored"
        )
    return source


def _may_have_login(url: re.Match[str]) -> bool:
    """Return whether an `@` ends a login: also one after a character that ends the host."""
    place, behind = url["place"], url["path"] + url["rest"]
    return "@" in place or ("@" in behind and not _HOST.fullmatch(place)) or behind[:1] == "\\"


def _has_password_field(url: str) -> bool:
    """Return whether the query has a password, as URLs of databases may."""
    fields = parse_qsl(url.partition("?")[2].replace(";", "&"), keep_blank_values=True)
    return any(_PASSWORD.search(name) for name, _ in fields)
