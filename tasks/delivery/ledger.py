"""The ledger of a delivery: which shard was delivered with which digest, beside the rows."""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from tasks.delivery.tables import Tables
from tasks.output.records import ShardRecord

# What is stored for the same file; raised, it lets every shard be delivered again.
_REVISION = 1

_SHARDS_AT_ONCE = 500  # in a statement


class Line(NamedTuple):
    """What the ledger has of a shard.

    Attributes:
        digest: Of what was delivered.
        rows: Rows that went to the table.
        replaced: Values in them that the database cannot hold.
    """

    digest: str
    rows: int
    replaced: int


def delivery_digest(record: ShardRecord, folder: str) -> str:
    """Return the digest of what a delivery stores: of the published file, and of how."""
    published = record.files.get(folder, "")
    return hashlib.sha256(f"{_REVISION} {folder} {published}".encode()).hexdigest()


def read_complete(
    connection: Connection, tables: Tables, shards: Collection[str]
) -> dict[str, Line]:
    """Return the lines of shards, where the table still has all their rows."""
    found: dict[str, Line] = {}
    for part in _parts(shards):
        lines = _read_lines(connection, tables, part)
        counts = count_rows(connection, tables, [*lines])
        found |= {s: line for s, line in lines.items() if counts.get(s, 0) == line.rows}
    return found


def read_shards(connection: Connection, tables: Tables) -> Sequence[str]:
    """Return the ids of all shards that the ledger has of the table."""
    ledger = tables.ledger
    found = sa.select(ledger.c.shard).where(ledger.c.target == tables.target.name)
    return connection.execute(found).scalars().all()


def count_rows(connection: Connection, tables: Tables, shards: Collection[str]) -> dict[str, int]:
    """Return the rows that the table has of shards; one without is left out."""
    found: dict[str, int] = {}
    shard = tables.target.c.shard
    for part in _parts(shards):
        counted = sa.select(shard, sa.func.count()).where(shard.in_(part)).group_by(shard)
        found.update(connection.execute(counted).tuples().all())
    return found


def write_line(connection: Connection, tables: Tables, shard: str, line: Line) -> None:
    """Write the line of a shard that has none."""
    values = {"target": tables.target.name, "shard": shard, **line._asdict()}
    now = sa.func.current_timestamp()
    connection.execute(sa.insert(tables.ledger).values(**values, delivered_at=now))


def remove_lines(connection: Connection, tables: Tables, shards: Collection[str]) -> None:
    """Remove the lines of shards."""
    ledger = tables.ledger
    for part in _parts(shards):
        lines = sa.and_(ledger.c.target == tables.target.name, ledger.c.shard.in_(part))
        connection.execute(sa.delete(ledger).where(lines))


def remove_rows(connection: Connection, tables: Tables, shards: Collection[str]) -> None:
    """Remove the rows of shards."""
    target = tables.target
    for part in _parts(shards):
        connection.execute(sa.delete(target).where(target.c.shard.in_(part)))


def _read_lines(connection: Connection, tables: Tables, shards: Sequence[str]) -> dict[str, Line]:
    ledger = tables.ledger
    found = sa.select(ledger.c.shard, ledger.c.digest, ledger.c["rows"], ledger.c.replaced).where(
        ledger.c.target == tables.target.name, ledger.c.shard.in_(shards)
    )
    return {shard: Line(*values) for shard, *values in connection.execute(found)}


def _parts(shards: Collection[str]) -> Iterator[Sequence[str]]:
    left = iter(shards)
    while part := [*islice(left, _SHARDS_AT_ONCE)]:
        yield part
