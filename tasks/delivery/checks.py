"""Around a delivery: a check before any work, the removal of obsolete shards, and the proof."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice

import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy import Connection

from tasks.common.errors import ProofError
from tasks.delivery.opening import open_database
from tasks.delivery.sqlite import SqliteDatabase
from tasks.delivery.tables import Tables, find_tables, has_table
from tasks.delivery.types import DeliveryTarget
from tasks.output.file_ids import file_id_of

logger = logging.getLogger(__name__)

_SHARDS_AT_ONCE = 500  # in a statement


def check_target(target: DeliveryTarget, address: SecretStr) -> None:
    """Check before any work that the database can be reached and written; nothing is made.

    Raises:
        ParameterError: If the address is none of a database that can be written.
        DeliveryError: If the database, its schema, or a right is missing.
        TransientDeliveryError: If it does not answer, or is locked.
    """
    with open_database(target, address) as database:
        if isinstance(database, SqliteDatabase) and not database.check_file():
            return
        with database.transaction() as connection:
            tables = find_tables(database, connection)
            database.check_writable(connection, tables.schema)
            for table in (tables.target, tables.ledger):
                has_table(database, connection, table)


def remove_obsolete(
    target: DeliveryTarget, address: SecretStr, files: Collection[str], keep: Collection[str]
) -> int:
    """Remove the rows of shards that the files of this run no longer have, in one transaction.

    Shards of other files stay: they belong to other runs.

    Args:
        target: The table.
        address: Where its database is.
        files: Ids of the files of this run.
        keep: Ids of its shards.

    Returns:
        How many shards are removed.

    Raises:
        DeliveryError: If the database refuses it.
        TransientDeliveryError: If another attempt may succeed.
        ParameterError: If the address is none of a database that can be written.
    """
    with open_database(target, address) as database, database.transaction() as connection:
        tables = find_tables(database, connection)
        if not has_table(database, connection, tables.ledger):
            return 0
        left = has_table(database, connection, tables.target)
        delivered = _delivered_shards(connection, tables)
        obsolete = sorted(
            shard for shard in delivered if shard not in keep and file_id_of(shard) in files
        )
        for shards in _parts(obsolete):
            _remove(connection, tables, shards, from_target=left)
    if obsolete:
        logger.info("removed %d shards from %s that the input no longer has", len(obsolete), target)
    return len(obsolete)


def prove_delivery(target: DeliveryTarget, address: SecretStr, expected: Mapping[str, int]) -> None:
    """Check by `count(*)` that the table has the rows of each shard.

    Args:
        target: The table.
        address: Where its database is.
        expected: The rows of each shard by its id.

    Raises:
        ProofError: If it has more or fewer of one, naming the first such shard.
        DeliveryError: If the table cannot be read.
        TransientDeliveryError: If another attempt may succeed.
        ParameterError: If the address is none of a database that can be written.
    """
    if not expected:
        return
    found: dict[str, int] = {}
    with open_database(target, address) as database, database.transaction() as connection:
        tables = find_tables(database, connection)
        if has_table(database, connection, tables.target):
            for shards in _parts(expected):
                found |= _count_rows(connection, tables, shards)
    for shard, rows in expected.items():
        if found.get(shard, 0) != rows:
            raise ProofError(
                f"{target}: has {found.get(shard, 0)} rows of {shard}; expected {rows}, as its "
                "record has it: repeat the run, which delivers the shard again"
            )


def _delivered_shards(connection: Connection, tables: Tables) -> Sequence[str]:
    ledger = tables.ledger
    found = sa.select(ledger.c.shard).where(ledger.c.target == tables.target.name)
    return connection.execute(found).scalars().all()


def _remove(
    connection: Connection, tables: Tables, shards: Sequence[str], *, from_target: bool
) -> None:
    target, ledger = tables.target, tables.ledger
    if from_target:
        connection.execute(sa.delete(target).where(target.c.shard.in_(shards)))
    lines = sa.and_(ledger.c.target == target.name, ledger.c.shard.in_(shards))
    connection.execute(sa.delete(ledger).where(lines))


def _count_rows(connection: Connection, tables: Tables, shards: Sequence[str]) -> dict[str, int]:
    shard = tables.target.c.shard
    counted = sa.select(shard, sa.func.count()).where(shard.in_(shards)).group_by(shard)
    return dict(connection.execute(counted).tuples().all())


def _parts(shards: Collection[str]) -> Iterator[Sequence[str]]:
    left = iter(shards)
    while part := [*islice(left, _SHARDS_AT_ONCE)]:
        yield part
