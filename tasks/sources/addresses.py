"""Addresses of sources: from the environment, else from a block of Prefect."""

import os
from collections.abc import Iterable
from typing import Any

from pydantic import SecretStr

from pyfunc.business.addresses import EXPECTED, find_address, parse_address, source_variable
from pyfunc.errors import SettingError
from tasks.common.errors import ParameterError


def require_address(name: str) -> SecretStr:
    """Return the address of a source.

    It is in `MILLSTREAM_SOURCE_<NAME>`, else in a block of Prefect, `SQLAlchemy Connector` or
    `Secret`, that is called `millstream-source-<name>`. Blocks are looked for where a server of
    Prefect is known: in a run, or by `PREFECT_API_URL`.

    Args:
        name: The source, as look-ups and deliveries name it.

    Raises:
        ParameterError: If it has none, or one that is no address; it is not quoted.
    """
    address = find_address(name) or _find_in_prefect(block_name(name))
    if not address:
        raise ParameterError(
            f"{source_variable(name)}: not set, and there is no Prefect block {block_name(name)}; "
            f"{EXPECTED}"
        )
    try:
        parse_address(name, address)
    except SettingError as error:
        raise ParameterError(str(error)) from error
    return SecretStr(address)


def export_addresses(names: Iterable[str]) -> None:
    """Check that sources have addresses, and let the models of this process find them.

    Raises:
        ParameterError: If a source has none, or one that is no address; it is not quoted.
    """
    for name in names:
        os.environ.setdefault(source_variable(name), require_address(name).get_secret_value())


def block_name(name: str) -> str:
    """Return what a block of Prefect with the address of a source is called."""
    return f"millstream-source-{name.replace('_', '-')}"


def _find_in_prefect(block: str) -> str:
    """Return the address in a block; empty if there is none, or no server to ask."""
    from prefect.blocks.system import Secret
    from prefect.context import get_run_context
    from prefect.exceptions import MissingContextError
    from prefect.settings import PREFECT_API_URL
    from prefect_sqlalchemy import SqlAlchemyConnector

    try:
        get_run_context()
    except MissingContextError:
        if not PREFECT_API_URL.value():
            return ""
    connector: Any = _load(SqlAlchemyConnector, block)
    if connector is not None:
        return str(connector._rendered_url.render_as_string(hide_password=False))
    secret: Any = _load(Secret, block)
    return "" if secret is None else str(secret.get())


def _load(kind: Any, block: str) -> Any:
    try:
        return kind.load(block)
    except ValueError:  # there is none, or its type is not registered
        return None
