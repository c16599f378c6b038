"""Addresses of sources: from the environment, else from a block of Prefect."""

import os
from collections.abc import Iterable

from pydantic import SecretStr

from pyfunc.business.addresses import EXPECTED, find_address, parse_address, source_variable
from pyfunc.errors import SettingError
from tasks.common.errors import ParameterError


def require_address(name: str) -> SecretStr:
    """Return the address of a source.

    Args:
        name: The source, as look-ups and deliveries name it.

    Raises:
        ParameterError: If it has none, or one that is no address; it is not quoted.
    """
    address = find_address(name)
    if not address:
        raise ParameterError(f"{source_variable(name)}: not set; {EXPECTED}")
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
