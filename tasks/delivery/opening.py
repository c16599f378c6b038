"""Open the database of a delivery by its address, which no message has."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from pyfunc.business.addresses import parse_address, source_variable
from pyfunc.errors import SettingError
from tasks.common.errors import ParameterError
from tasks.delivery import database
from tasks.delivery.database import Database
from tasks.delivery.database_errors import delivery_errors
from tasks.delivery.postgres import PostgresDatabase
from tasks.delivery.sqlite import SqliteDatabase
from tasks.delivery.types import DeliveryTarget


@contextmanager
def open_database(
    target: DeliveryTarget, address: SecretStr, shard: str = ""
) -> Iterator[Database]:
    """Yield the database of a target.

    Args:
        target: The table.
        address: Where its database is.
        shard: What is delivered, for errors.

    Raises:
        ParameterError: If the address is none of a database that can be written.
        TransientDeliveryError: If the block fails and another attempt may succeed.
        DeliveryError: If it will not.
    """
    place = f"{target}: {shard}" if shard else str(target)
    with delivery_errors(place, database.LOCK_S, database.STATEMENT_S):
        found = _database_at(target, address, place)
        try:
            yield found
        finally:
            found.engine.dispose()


def _database_at(target: DeliveryTarget, address: SecretStr, place: str) -> Database:
    variable = source_variable(target.source)
    try:
        url = parse_address(target.source, address.get_secret_value())
    except SettingError as error:
        raise ParameterError(str(error)) from None
    if isinstance(url, Path):
        raise ParameterError(
            f"{variable}: names a file with rows, which {target} cannot go to; expected a database"
        )
    if url.get_backend_name() == "postgresql":
        return PostgresDatabase(url, target, place)
    if target.schema_name:
        raise ParameterError(
            f"{target}: {variable} is a database of SQLite, which has no schemas; expected "
            f"{target.source}.{target.table}"
        )
    return SqliteDatabase(url, target, place)
