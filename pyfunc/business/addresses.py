"""Addresses of sources: databases and files that look-ups read, by name.

An address may have a password in it. It is part of no message, log line, artifact or parameter.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from ..errors import SettingError

FILE_SUFFIXES = (".csv", ".parquet")

# Whatever driver an address names, as one for another library, this is the one that is there.
_DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "sqlite": "sqlite",
}

EXPECTED = (
    "expected an address such as postgresql+psycopg://user@host/database or "
    "sqlite:////folder/file.db, or the path of a .csv or .parquet file"
)


def source_variable(name: str) -> str:
    """Return the environment variable with the address of a source."""
    return f"MILLSTREAM_SOURCE_{name.upper()}"


def find_address(name: str, model_config: Mapping[str, Any] | None = None) -> str:
    """Return the address of a source: from `model_config`, else from its variable.

    Args:
        name: The source.
        model_config: The argument of `mlflow.pyfunc.load_model`; `sources` is read, a mapping.

    Returns:
        An empty string if there is none.

    Raises:
        SettingError: If `sources` is no mapping.
    """
    sources = (model_config or {}).get("sources") or {}
    if not isinstance(sources, Mapping):
        kind = type(sources).__name__
        raise SettingError(f"model_config: sources: a {kind}; expected addresses by name")
    return str(sources.get(name) or os.environ.get(source_variable(name)) or "")


def parse_address(name: str, address: str) -> URL | Path:
    """Return the URL of a database, or the path of a file.

    Raises:
        SettingError: If the address is neither; it is not quoted.
    """
    variable = source_variable(name)
    scheme, separator, rest = address.partition("://")
    if not separator or scheme.lower() == "file":
        path = Path(unquote(urlsplit(address).path) if separator else address).expanduser()
        if path.suffix.lower() not in FILE_SUFFIXES:
            raise SettingError(f"{variable}: neither a database nor a file; {EXPECTED}")
        return path
    driver = _DRIVERS.get(scheme.lower().partition("+")[0])
    if driver is None:
        raise SettingError(f"{variable}: the scheme is not supported; {EXPECTED}")
    try:
        url = make_url(f"{driver}://{rest}")
    except (ArgumentError, ValueError):
        raise SettingError(f"{variable}: not an address; {EXPECTED}") from None
    if url.drivername == "sqlite" and url.database in (None, "", ":memory:"):
        raise SettingError(f"{variable}: names no file; {EXPECTED}")
    return url
