"""URLs from users: redact passwords and tokens in messages, refuse logins, and URLs as paths."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qsl

from pydantic import AnyUrl

from tasks.common.errors import ParameterError
from tasks.common.files import absolute_path
from tasks.common.text import printable

# Not urllib: its errors quote the invalid part, which may belong to a password.
_URL = re.compile(
    r"\s*(?P<scheme>[a-z][a-z0-9+.-]*:)?(?<![^:])/{1,2}(?P<place>[^/?#\\]*)(?P<path>[^?#]*)"
    r"(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
# The key may have any character: what looks like a login or a query is a part of a name.
_OBJECT = re.compile(
    r"s3://(?P<bucket>[a-z0-9][a-z0-9._-]{2,62})(?:/(?P<key>.*))?", re.IGNORECASE | re.DOTALL
)
_HOST = re.compile(r"([^:@\[\]]*|\[[0-9a-f:.%]+\])(:\d{0,5})?", re.IGNORECASE)
_PASSWORD = re.compile(r"passw|pwd", re.IGNORECASE)
_HIDDEN = "…"

_DEFAULT_PORTS = {"http": 80, "https": 443}

# Two letters or more, unlike a drive; `Path` makes one slash of two.
_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]+:/", re.IGNORECASE)


# Bytes of a path, and of a name in it, on Linux.
_LONGEST_PATH, _LONGEST_NAME = 4_095, 255
_LONGEST_URL_NAME = 200  # with room for what unfinished downloads have behind it
_LONGEST_SHOWN = 80  # characters of a value in a message

_UNREACHABLE = (errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG)


def is_url(source: str) -> bool:
    """Return whether `source` is an http(s) URL, not a name or path."""
    return source.lower().startswith(("http://", "https://"))


def is_s3(source: str) -> bool:
    """Return whether `source` is the address of an object on S3, or of several."""
    return source.lower().startswith("s3://")


def is_remote(source: str) -> bool:
    """Return whether `source` has to be downloaded: an http(s) URL or an address on S3."""
    return is_url(source) or is_s3(source)


def s3_place(address: str) -> tuple[str, str]:
    """Return the bucket and the key of an address on S3, such as `s3://bucket/a/key.csv`.

    Raises:
        ParameterError: If it names no bucket.
    """
    found = _OBJECT.fullmatch(address)
    if found is None:
        raise ParameterError(f"{redact_url(address)}: names no bucket; expected s3://bucket/key")
    return found["bucket"], found["key"] or ""


def origin_of(url: str) -> str:
    """Return the origin of a URL as browsers send it: in lower case, without a default port.

    Raises:
        ValueError: If it is no URL of a host. The text quotes what may be a password.
    """
    parts = AnyUrl(url.strip())
    if "://" not in url or not parts.host:
        raise ValueError("no URL of a host")
    port = f":{parts.port}" if parts.port != _DEFAULT_PORTS.get(parts.scheme) else ""
    return f"{parts.scheme}://{parts.host}{port}".lower()


def is_host(text: str) -> bool:
    """Return whether a text is a name of a host or an IP address, without scheme and port."""
    try:
        ip_address(text)
    except ValueError:
        return re.search(r"[/:@?#\\\s]", text) is None and is_origin(f"http://{text}")
    return True


def is_loopback(host: str) -> bool:
    """Return whether a name or an address of a host is that of this machine to itself alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_origin(url: str) -> bool:
    """Return whether a URL names a host, and is well-formed up to there."""
    try:
        origin_of(url)
    except ValueError:
        return False
    return True


def local_path(parameter: str, text: str, expected: str) -> Path:
    """Return what a parameter names as a path on this machine, with the user's home for `~`.

    Args:
        parameter: Its name, for the error.
        text: Its value.
        expected: What it may be, for the error.

    Raises:
        ParameterError: If it is an address, such as `s3://bucket/key`, which would else become a
            folder `s3:`; if it starts with the name of a user who has no home; or if it is too long
            for a path, not UTF-8, or has a NUL character.
    """
    check_characters(parameter, text, expected)
    parts = [len(part.encode()) for part in text.split("/")]
    if len(text.encode()) > _LONGEST_PATH or max(parts) > _LONGEST_NAME:
        raise ParameterError(
            f"{parameter}: {_shown(text)} is a path of {len(text.encode())} bytes with a name of "
            f"{max(parts)}; expected at most {_LONGEST_PATH} and {_LONGEST_NAME}"
        )
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


def check_characters(parameter: str, text: str, expected: str) -> None:
    """Check that a path or URL can be passed on: neither the system nor Prefect takes all text.

    Raises:
        ParameterError: If it is not UTF-8, or has a NUL character.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ParameterError(
            f"{parameter}: {_shown(text)}: the file's name is not UTF-8; expected a name in UTF-8"
        ) from error
    if "\0" in text:
        raise ParameterError(
            f"{parameter}: {_shown(text)} has a NUL character; expected {expected}"
        )


def reachable_path(parameter: str, text: str, expected: str) -> Path:
    """Return the path that `local_path` returns, which need not exist.

    Raises:
        ParameterError: Also if its links lead in a circle, or a folder on the way to it may not be
            read.
        OSError: If the system fails, which another attempt may mend.
    """
    path = local_path(parameter, text, expected)
    # What needs it says that it is missing.
    with (
        path_errors(parameter, text, expected),
        suppress(FileNotFoundError, NotADirectoryError),
    ):
        path.stat()
    # The folders that its links, or the working folder, lead to.
    check_characters(parameter, str(absolute_path(path)), expected)
    return path


def resolved_path(parameter: str, text: str, expected: str) -> Path:
    """Return the path that `reachable_path` returns, absolute and without links.

    Raises:
        ParameterError: As there.
        OSError: As there.
    """
    path = reachable_path(parameter, text, expected).resolve()
    check_characters(parameter, str(path), expected)
    return path


@contextmanager
def path_errors(parameter: str, text: str, expected: str) -> Iterator[None]:
    """Turn errors that a path's permissions, links or length bring into one of its parameter.

    Raises:
        ParameterError: In place of these.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _UNREACHABLE:
            raise
        raise ParameterError(
            f"{parameter}: {_shown(text)} cannot be read ({error.strerror}); expected {expected}"
        ) from error


def _shown(text: str) -> str:
    """Return a value for a message: quoted, without secrets, its end if it is long."""
    text = printable(redact_url(text)).replace("\n", "\\n")
    text = text.encode("utf-8", "backslashreplace").decode()
    return f"'{text}'" if len(text) <= _LONGEST_SHOWN else f"'…{text[-_LONGEST_SHOWN:]}'"


def has_password(url: str) -> bool:
    """Return whether a URL has, or may have, a password or a token in it."""
    login, _, _ = url.partition("://")[2].rpartition("@")
    if login.startswith("/"):  # a file
        return False
    return ":" in login or (is_url(url) and login != "") or _has_password_field(url)


def url_path(url: str) -> str:
    """Return the path of a URL, and of an address on S3 the key after a slash."""
    if is_s3(url) and (of_object := _OBJECT.fullmatch(url)):
        return f"/{of_object['key'] or ''}"
    found = _URL.fullmatch(url)
    return found["path"] if found else ""


def url_file_name(url: str) -> str:
    """Return the last part of a URL's path, or the end of it if it is long for a file's name."""
    name = PurePosixPath(url_path(url)).name
    return name.encode()[-_LONGEST_URL_NAME:].decode(errors="ignore")


def redact_url(source: str) -> str:
    """Return a URL without user name, password, parameters and fragment, for a message.

    Other text, such as a path, is returned unchanged, and so is an address on S3.
    """
    if _OBJECT.fullmatch(source):
        return source
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
    found = None if _OBJECT.fullmatch(source) else _URL.fullmatch(source)
    if found and found["scheme"] and (_may_have_login(found) or _has_password_field(source)):
        place = "the settings of boto3" if is_s3(source) else "~/.netrc"
        raise ParameterError(
            f"{redact_url(source)}: given with a user name or password; "
            f"expected those in {place}, since the parameters of a run are stored"
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
