"""The tables of a delivery: the target and the ledger, made if missing, else checked."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, quoted_name
from sqlalchemy.schema import CreateTable

from tasks.delivery.columns import Column
from tasks.delivery.database import Database, ExistingColumn
from tasks.delivery.types import LEDGER

# In the order of the primary key.
_KEY = ("shard", "row")
_LEDGER_KEY = ("target", "shard")
_LEDGER_COLUMNS = (
    Column("target", "text"),
    Column("shard", "text"),
    Column("digest", "text"),
    Column("rows", "integer"),
    Column("replaced", "integer"),
    Column("delivered_at", "zoned"),
)


@dataclass(frozen=True)
class Tables:
    """The tables of a delivery.

    Attributes:
        schema: Where they are; None where there are no schemas.
        target: The rows.
        ledger: Which shard was delivered with which digest.
    """

    schema: str | None
    target: sa.TableClause
    ledger: sa.TableClause


def find_tables(database: Database, connection: Connection) -> Tables:
    """Return the tables, which need not exist."""
    schema = database.find_schema(connection)
    return Tables(
        schema,
        _clause(schema, database.target.table, _KEY),
        _clause(schema, LEDGER, [column.name for column in _LEDGER_COLUMNS]),
    )


def has_table(database: Database, connection: Connection, table: sa.TableClause) -> bool:
    """Return whether a table exists."""
    return bool(database.find_columns(connection, table.schema, table.name))


def unfit_reason(database: Database, columns: Sequence[Column]) -> str:
    """Return why no table of the database can have columns, empty if it can."""
    if len(columns) > database.most_columns:
        return (
            f"{len(columns)} columns are to be delivered; expected at most {database.most_columns}"
        )
    names = [column.name for column in columns]
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        return f"{count} columns share the name {name!r}; expected different names"
    if hidden := next((name for name in names if "\0" in name), None):
        return f"column {hidden!r} has a NUL character; expected a name without"
    return database.unfit_name(names)


def prepare_tables(database: Database, columns: Sequence[Column]) -> None:
    """Make the tables of a delivery that are missing, and check the others.

    Args:
        database: Where.
        columns: Those of the target.

    Raises:
        DeliveryError: If a table has other columns, or cannot have these.
    """
    _check_fit(database, columns)
    with database.transaction() as connection:
        tables = find_tables(database, connection)
        if _missing_table(database, connection, tables, columns):
            # Who waited here finds them made.
            database.lock(connection, f"tables {tables.schema}")
            if _missing_table(database, connection, tables, columns):
                _make(database, connection, tables, columns)


def require_tables(database: Database, connection: Connection, columns: Sequence[Column]) -> Tables:
    """Return the tables of a delivery, which `prepare_tables` made with the columns of all files.

    Args:
        database: Where.
        connection: Of the delivery.
        columns: Those of a shard.

    Raises:
        DeliveryError: If a table is missing, or has other columns, or cannot have these.
    """
    _check_fit(database, columns)
    tables = find_tables(database, connection)
    if missing := _missing_table(database, connection, tables, columns):
        raise database.refuse(
            f"there is no table {missing}; expected the one that a run makes before its first "
            "delivery, if the columns of all files agree"
        )
    return tables


def _check_fit(database: Database, columns: Sequence[Column]) -> None:
    if reason := unfit_reason(database, columns):
        raise database.refuse(reason)


def _missing_table(
    database: Database, connection: Connection, tables: Tables, columns: Sequence[Column]
) -> str:
    """Return the first table that is missing, empty if none is; check those that are there."""
    missing = []
    for table, expected in ((tables.target.name, columns), (LEDGER, _LEDGER_COLUMNS)):
        if found := database.find_columns(connection, tables.schema, table):
            _check_columns(database, table, found, expected)
        else:
            missing.append(table)
    return next(iter(missing), "")


def _check_columns(
    database: Database,
    table: str,
    found: dict[str, ExistingColumn],
    expected: Sequence[Column],
) -> None:
    for column in expected:
        kind = database.types[column.kind]
        existing = found.get(database.folded(column.name))
        if existing is None:
            raise database.refuse(
                f"the table {table} has no column {column.name!r}; expected one of type {kind.name}"
            )
        # A column without a value fits any type.
        if column.kind != "nothing" and existing.type not in kind.accepted:
            raise database.refuse(
                f"the column {column.name!r} of {table} is {existing.type}; expected {kind.name}"
            )
    names = {database.folded(column.name) for column in expected}
    for name, existing in found.items():
        if existing.required and name not in names:
            raise database.refuse(
                f"the column {name!r} of {table} is NOT NULL without a default, and a delivery has "
                "none of that name; expected that it may be null, or a default"
            )


def _make(
    database: Database, connection: Connection, tables: Tables, columns: Sequence[Column]
) -> None:
    if not has_table(database, connection, tables.ledger):
        _create(database, connection, tables.ledger, _LEDGER_COLUMNS, _LEDGER_KEY)
    if not has_table(database, connection, tables.target):
        _create(database, connection, tables.target, columns, _KEY)
        # The rows of an earlier table went with it.
        ledger = tables.ledger
        connection.execute(sa.delete(ledger).where(ledger.c.target == tables.target.name))


def _create(
    database: Database,
    connection: Connection,
    table: sa.TableClause,
    columns: Sequence[Column],
    key: Sequence[str],
) -> None:
    made = [sa.Column(_quoted(c.name), database.types[c.kind].made) for c in columns]
    primary = sa.PrimaryKeyConstraint(*(_quoted(name) for name in key))
    schema = table.schema and _quoted(table.schema)
    described = sa.Table(_quoted(table.name), sa.MetaData(), *made, primary, schema=schema)
    connection.execute(CreateTable(described))


def _clause(schema: str | None, table: str, names: Sequence[str]) -> sa.TableClause:
    columns: list[sa.ColumnClause[Any]] = [sa.column(_quoted(name)) for name in names]
    return sa.table(_quoted(table), *columns, schema=schema and _quoted(schema))


def _quoted(name: str) -> quoted_name:
    return quoted_name(name, quote=True)
