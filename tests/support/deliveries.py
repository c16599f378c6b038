"""Published shards for tests of deliveries, and tables of both databases as Python values."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import SecretStr

from tasks.common.errors import DeliveryError
from tasks.common.files import sha256_of
from tasks.delivery.checks import prepare_target
from tasks.delivery.shard_delivery import deliver_shard
from tasks.delivery.types import Delivery, DeliveryTarget
from tasks.output.records import Counts, Shard, ShardRecord, table_path
from tasks.output.row_parameters import RowParameters

Backend = Literal["postgresql", "sqlite"]

TARGET = DeliveryTarget(source="crm", table="predictions")


def shard_id(number: int = 1, file: str = "reviews-0123456789abcdef") -> str:
    return f"{file}-{number:05}"


def publish(output: Path, rows: pa.Table, shard: str = "", folder: str = "predictions") -> Any:
    """Write the rows of a shard as scoring does; return its record.

    The columns `shard` and `row` are added unless they are there.
    """
    shard = shard or shard_id()
    if "row" not in rows.column_names:
        rows = rows.append_column("shard", pa.array([shard] * rows.num_rows, pa.string()))
        rows = rows.append_column("row", pa.array(range(1, rows.num_rows + 1), pa.int64()))
    path = table_path(output, folder, shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path)
    return record_of(shard, rows.num_rows, {folder: sha256_of(path)})


def record_of(shard: str, rows: int, files: dict[str, str]) -> ShardRecord:
    planned = Shard(
        id=shard, file_id=shard[:-6], source="/r.csv", sha256="0" * 64, first_row=1, rows=rows
    )
    return ShardRecord(
        shard=planned,
        model_uri="",
        fingerprint="",
        engine="torch",
        precision="f32",
        parameters=RowParameters(),
        counts=Counts(rows_in=rows, scored=rows),
        labels={},
        languages={},
        scores=(),
        reasons={},
        files=files,
        started=datetime.now(UTC),
        seconds=0,
        model_seconds=0,
        host="",
        flow_run_id="",
    )


@dataclass(frozen=True)
class Place:
    """A database of one test.

    Attributes:
        backend: Which one.
        url: Its address.
    """

    backend: Backend
    url: str

    @property
    def address(self) -> SecretStr:
        return SecretStr(self.url)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement, and return its rows."""
        if self.backend == "postgresql":
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute("set timezone to 'UTC'")
                found = connection.execute(statement.encode())
                return found.fetchall() if found.description else []
        path = self.url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as file:
            return file.execute(statement).fetchall()

    def rows(self, columns: str = "*", table: str = "predictions") -> list[tuple[Any, ...]]:
        return self.query(f"select {columns} from {table} order by shard, row")

    def counts(self, table: str = "predictions") -> dict[str, int]:
        return dict(self.query(f"select shard, count(*) from {table} group by shard"))

    def ledger(self) -> dict[str, int]:
        return dict(self.query("select shard, rows from millstream_deliveries"))


def deliver_alone(
    record: ShardRecord,
    output: Path,
    target: DeliveryTarget,
    address: SecretStr,
    *,
    folder: str = "predictions",
) -> Delivery:
    """Deliver a shard as a run that has no other: what keeps its table from being made is logged.

    Without its file, the delivery has to say so.
    """
    with suppress(DeliveryError, FileNotFoundError):
        schema = pq.read_schema(table_path(output, folder, record.shard.id))
        prepare_target(target, address, {record.shard.source: schema})
    return deliver_shard(record, output, target, address, folder=folder)


def texts(values: Sequence[str | None]) -> pa.Table:
    return pa.table({"text": pa.array(values, pa.string())})
