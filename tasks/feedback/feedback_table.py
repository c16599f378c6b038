"""A table with feedback in a database, SQLite or PostgreSQL; it is never written."""

import hashlib
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, quoted_name
from sqlalchemy.exc import NoSuchTableError, SQLAlchemyError

from pyfunc.business.addresses import parse_address, source_variable
from pyfunc.business.connections import open_engine, within
from pyfunc.business.source_errors import describe_source_error
from pyfunc.errors import SourceError
from tasks.common.errors import DataError, ParameterError
from tasks.delivery.types import DeliveryTarget
from tasks.feedback.feedback_rows import FeedbackSource, SourceRow, find_columns
from tasks.sources.addresses import require_address

_TIMEOUT_MS = 60_000


def read_feedback_table(table: str) -> FeedbackSource:
    """Return the rows of a table, in an order that depends on their values alone.

    A table has no time of its own, as a file has that of its last change, so that it needs one in
    each row: a label that is replaced and comes back would otherwise be no news.

    Args:
        table: Its name, as in `crm.feedback` or `crm.public.feedback`.

    Raises:
        ParameterError: If its database has no address, or that of a file.
        DataError: If it cannot be read, or lacks a column.
    """
    target = DeliveryTarget.parse("feedback_table", table)
    url = parse_address(target.source, require_address(target.source).get_secret_value())
    if isinstance(url, Path):
        raise ParameterError(
            f"{source_variable(target.source)}: names a file with rows, not a database; expected "
            "the address of one, or the file itself as feedback"
        )
    engine = open_engine(url, _TIMEOUT_MS)
    try:
        with (
            engine.connect() as connection,
            within(connection.connection.driver_connection, _TIMEOUT_MS),
        ):
            rows = _read_rows(connection, target)
    except NoSuchTableError:
        raise DataError(f"{table}: there is no such table; expected one of feedback") from None
    except (SQLAlchemyError, SourceError) as error:
        # The messages of drivers quote addresses and values.
        reason = (
            str(error)
            if isinstance(error, SourceError)
            else describe_source_error(error, _TIMEOUT_MS)
        )
        raise DataError(f"{table}: {reason}; expected a table that can be read") from None
    finally:
        engine.dispose()
    digest = hashlib.sha256(table.encode())
    for row in rows:
        digest.update(repr(sorted(row.values.items())).encode(errors="surrogatepass") + b"\n")
    return FeedbackSource(table, digest.hexdigest(), None, rows)


def _read_rows(connection: Connection, target: DeliveryTarget) -> list[SourceRow]:
    described = sa.inspect(connection).get_columns(target.table, schema=target.schema_name)
    columns = find_columns(str(target), [column["name"] for column in described])
    if "when" not in columns:
        raise DataError(f"{target}: no column 'when'; expected one with the time of each label")
    # Without types, which would fail for a value that SQLite holds all the same.
    clauses: list[sa.ColumnClause[Any]] = [
        sa.column(quoted_name(name, quote=True)) for name in columns.values()
    ]
    schema = target.schema_name and quoted_name(target.schema_name, quote=True)
    table = sa.table(quoted_name(target.table, quote=True), *clauses, schema=schema)
    found = connection.execute(sa.select(*table.columns).order_by(*table.columns))
    return [
        SourceRow(number, dict(zip(columns, values, strict=True)))
        for number, values in enumerate(found, start=1)
    ]
