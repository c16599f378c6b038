"""Around deliveries: a check before any work, what is done already or obsolete, and the proof."""

import logging
from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa
from pydantic import SecretStr

from tasks.common.errors import ProofError
from tasks.delivery.columns import columns_of, unite_columns
from tasks.delivery.ledger import (
    count_rows,
    delivery_digest,
    read_complete,
    read_shards,
    remove_lines,
    remove_rows,
)
from tasks.delivery.opening import open_database
from tasks.delivery.sqlite import SqliteDatabase
from tasks.delivery.tables import find_tables, has_table, prepare_tables, unfit_reason
from tasks.delivery.types import Delivery, DeliveryTarget
from tasks.output.file_ids import file_id_of
from tasks.output.records import ShardRecord

logger = logging.getLogger(__name__)


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


def prepare_target(
    target: DeliveryTarget, address: SecretStr, schemas: Mapping[str, pa.Schema]
) -> None:
    """Make the table with the columns of all files, or check it, before the first shard.

    A file of which the database cannot have the columns does not keep the others from theirs. But
    no table is made where types do not agree: one of a single shard would refuse the others, also
    once the file is mended.

    Args:
        target: The table.
        address: Where its database is.
        schemas: Of the tables that will be delivered, by the names of their files.

    Raises:
        DeliveryError: If a file does not fit or files do not agree, naming column and file, or if
            the table has other columns.
        TransientDeliveryError: If another attempt may succeed.
        ParameterError: If the address is none of a database that can be written.
    """
    files = {name: columns_of(schema) for name, schema in schemas.items()}
    with open_database(target, address) as database:
        reasons = {
            name: reason
            for name, columns in files.items()
            if (reason := unfit_reason(database, columns))
        }
        fitting = {name: columns for name, columns in files.items() if name not in reasons}
        try:
            columns = unite_columns(fitting, database.folded)
        except ValueError as error:
            raise database.refuse(str(error)) from None
        if columns:
            prepare_tables(database, columns)
        for name, reason in reasons.items():
            raise database.refuse(f"{name}: {reason}")


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
        delivered = read_shards(connection, tables)
        obsolete = sorted(
            shard for shard in delivered if shard not in keep and file_id_of(shard) in files
        )
        if has_table(database, connection, tables.target):
            remove_rows(connection, tables, obsolete)
        remove_lines(connection, tables, obsolete)
    if obsolete:
        logger.info("removed %d shards from %s that the input no longer has", len(obsolete), target)
    return len(obsolete)


def find_delivered(
    records: Sequence[ShardRecord],
    target: DeliveryTarget,
    address: SecretStr,
    *,
    folder: str = "predictions",
) -> tuple[Delivery, ...]:
    """Return the deliveries of shards that need none: all at once, without a look at their files.

    Args:
        records: The records of published shards.
        target: The table.
        address: Where its database is.
        folder: Which rows: `predictions` or `rejected`.

    Raises:
        DeliveryError: If the tables cannot be read.
        TransientDeliveryError: If another attempt may succeed.
        ParameterError: If the address is none of a database that can be written.
    """
    digests = {record.shard.id: delivery_digest(record, folder) for record in records}
    with open_database(target, address) as database, database.transaction() as connection:
        tables = find_tables(database, connection)
        both = (tables.target, tables.ledger)
        if not all(has_table(database, connection, table) for table in both):
            return ()
        complete = read_complete(connection, tables, digests.keys())
    return tuple(
        Delivery(
            shard=shard, target=str(target), rows=line.rows, skipped=True, replaced=line.replaced
        )
        for shard, line in complete.items()
        if line.digest == digests[shard]
    )


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
            found = count_rows(connection, tables, expected.keys())
    for shard, rows in expected.items():
        if found.get(shard, 0) != rows:
            raise ProofError(
                f"{target}: has {found.get(shard, 0)} rows of {shard}; expected {rows}, as its "
                "record has it: repeat the run, which delivers the shard again"
            )
