"""Deliver a shard: one transaction replaces its rows in the table and its line in the ledger."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
from pydantic import SecretStr
from sqlalchemy import Connection

from pyfunc.business.spec import DELIVER_COLUMN
from tasks.common.cancellation import raise_if_stopped
from tasks.common.errors import DeliveryError
from tasks.delivery.columns import Column, columns_of
from tasks.delivery.database import Database
from tasks.delivery.ledger import (
    Line,
    delivery_digest,
    read_complete,
    remove_lines,
    remove_rows,
    write_line,
)
from tasks.delivery.opening import open_database
from tasks.delivery.tables import require_tables
from tasks.delivery.types import Delivery, DeliveryTarget
from tasks.delivery.values import Dialect, sql_values
from tasks.output.records import ShardRecord, table_path
from tasks.output.tables import take_rows

logger = logging.getLogger(__name__)

_ROWS_AT_ONCE = 1_000  # in memory


@dataclass
class _Tally:
    rows: int = 0
    replaced: int = 0


def deliver_shard(
    record: ShardRecord,
    output_dir: Path,
    target: DeliveryTarget,
    address: SecretStr,
    *,
    folder: str = "predictions",
) -> Delivery:
    """Deliver the rows of a published shard, unless the ledger says that they are there.

    It may be repeated and killed at any time: each row is in the table once. The table is made
    before, with the columns of all files: the first shard that comes along may be that of the one
    file whose columns are wrong.

    Args:
        record: The record of the shard.
        output_dir: The output folder.
        target: The table.
        address: Where its database is.
        folder: Which rows: `predictions` or `rejected`.

    Raises:
        DeliveryError: If the file is not the one that was published, or the table or database
            refuses it.
        TransientDeliveryError: If another attempt may succeed.
        ParameterError: If the address is none of a database that can be written.
        StoppedError: If the run is cancelled.
        OSError: If the file cannot be read.
    """
    shard = record.shard.id
    with (
        table_path(output_dir, folder, shard).open("rb") as file,
        open_database(target, address, shard) as database,
    ):
        _check_unaltered(file, record, folder)
        digest = delivery_digest(record, folder)
        rows = _ShardRows(file, database.dialect)
        with database.transaction() as connection:
            delivery = _deliver(database, connection, shard, digest, rows)
    if not delivery.skipped:
        logger.info("%s: %d rows delivered to %s", shard, delivery.rows, target)
    return delivery


class _ShardRows:
    """The rows of a shard, a part at a time.

    Args:
        file: The Parquet file.
        dialect: The database that they are for.
    """

    def __init__(self, file: BufferedReader, dialect: Dialect) -> None:
        self._file = pyarrow.parquet.ParquetFile(file)
        self._dialect = dialect
        self.columns: Sequence[Column] = columns_of(self._file.schema_arrow)

    def read(self, tally: _Tally) -> Iterator[tuple[object, ...]]:
        """Yield the rows that are to be delivered, and count them."""
        for batch in self._file.iter_batches(batch_size=_ROWS_AT_ONCE):
            raise_if_stopped()
            table = _deliverable(pa.Table.from_batches([batch]))
            values = []
            for number, column in enumerate(self.columns):
                array = table.column(number).combine_chunks()
                stored, replaced = sql_values(array, column.kind, self._dialect)
                values.append(stored)
                tally.replaced += replaced
            tally.rows += table.num_rows
            yield from zip(*values, strict=True)


def _deliver(
    database: Database, connection: Connection, shard: str, digest: str, rows: _ShardRows
) -> Delivery:
    tables, target = require_tables(database, connection, rows.columns), str(database.target)
    # A delivery of a killed process may still be going on in the server.
    database.lock(connection, f"shard {tables.schema} {tables.target.name} {shard}")
    line = read_complete(connection, tables, [shard]).get(shard)
    if line is not None and line.digest == digest:
        return Delivery(
            shard=shard, target=target, rows=line.rows, skipped=True, replaced=line.replaced
        )
    remove_rows(connection, tables, [shard])
    remove_lines(connection, tables, [shard])
    tally = _Tally()
    names = [column.name for column in rows.columns]
    database.insert(connection, tables.schema, names, rows.read(tally))
    write_line(connection, tables, shard, Line(digest, tally.rows, tally.replaced))
    return Delivery(shard=shard, target=target, rows=tally.rows, replaced=tally.replaced)


def _deliverable(rows: pa.Table) -> pa.Table:
    if DELIVER_COLUMN not in rows.column_names:
        return rows
    marks = rows[DELIVER_COLUMN]
    if not pa.types.is_boolean(marks.type):
        return rows
    return take_rows(rows, [place for place, mark in enumerate(marks.to_pylist()) if mark])


def _check_unaltered(file: BufferedReader, record: ShardRecord, folder: str) -> None:
    found = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    if found != record.files.get(folder):
        raise DeliveryError(
            f"{record.shard.id}: its {folder} file was altered (SHA-256 {found[:12]}…); expected "
            "the one that its record has: score the shard again"
        )
