"""PostgreSQL as the database of a delivery: COPY, advisory locks, the catalogue."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from psycopg import sql
from sqlalchemy import Connection, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL

from tasks.delivery import database
from tasks.delivery.columns import Kind
from tasks.delivery.database import Database, ExistingColumn, SqlType, sql_type
from tasks.delivery.types import LEDGER, DeliveryTarget

_CONNECT_S = 10
# After a few without an answer, the server frees what a lost client has locked, and a client ends.
_KEEPALIVE_S = 10
_LONGEST_NAME = 63  # bytes; it cuts longer ones
# https://www.postgresql.org/docs/current/ddl-system-columns.html
_SYSTEM_COLUMNS = {"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"}

_TYPES: dict[Kind, SqlType] = {
    "text": sql_type(sa.Text(), "text", "character varying"),
    "nothing": sql_type(sa.Text(), "text"),
    "integer": sql_type(sa.BigInteger(), "bigint", "numeric"),
    "unsigned": sql_type(sa.Numeric(20, 0), "numeric(20,0)", "numeric"),
    "number": sql_type(sa.Double(), "double precision"),
    "boolean": sql_type(sa.Boolean(), "boolean"),
    "zoned": sql_type(postgresql.TIMESTAMP(timezone=True), "timestamp with time zone"),
    "timestamp": sql_type(postgresql.TIMESTAMP(), "timestamp without time zone"),
    "date": sql_type(sa.Date(), "date"),
    "time": sql_type(sa.Time(), "time without time zone"),
    "duration": sql_type(postgresql.INTERVAL(), "interval"),
    "decimal": sql_type(sa.Numeric(), "numeric"),
    "long decimal": sql_type(sa.Numeric(), "numeric"),
    "binary": sql_type(postgresql.BYTEA(), "bytea"),
    "json": sql_type(postgresql.JSONB(), "jsonb", "json"),
}

_SCHEMA = text("""
    select coalesce(
        (select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.oid = to_regclass(quote_ident(:table))),
        current_schema())
""")
_COLUMNS = text("""
    select c.relkind, a.attname, format_type(a.atttypid, a.atttypmod),
        a.attnotnull and not a.atthasdef and a.attidentity = '', a.attgenerated <> ''
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where n.nspname = :schema and c.relname = :table
""")
_RIGHTS = text("""
    select current_setting('transaction_read_only') = 'on',
        current_setting('server_encoding'),
        has_schema_privilege(n.oid, 'USAGE'),
        has_schema_privilege(n.oid, 'CREATE')
    from pg_namespace n where n.nspname = :schema
""")
_MISSING_RIGHTS = text("""
    select c.relname, r.name from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    cross join (values ('SELECT'), ('INSERT'), ('DELETE')) as r (name)
    where n.nspname = :schema and c.relname in (:table, :ledger) and c.relkind in ('r', 'p')
        and not has_table_privilege(c.oid, r.name)
    order by c.relname, r.name
""")
_FOUND = text("""
    select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = :schema and c.relname in (:table, :ledger)
""")
# Of a transaction, so that connection poolers may share the connection.
_LIMITS = text("""
    select set_config('lock_timeout', :lock, true), set_config('statement_timeout', :time, true),
        set_config('tcp_keepalives_idle', :idle, true),
        set_config('tcp_keepalives_interval', :idle, true),
        set_config('tcp_keepalives_count', '3', true)
""")


class PostgresDatabase(Database):
    """A database of PostgreSQL."""

    dialect = "postgresql"
    types = _TYPES
    most_columns = 1_600

    def __init__(self, url: URL, target: DeliveryTarget, place: str) -> None:
        engine = sa.create_engine(
            url,
            # A role may have another default; what another delivery committed must be seen.
            isolation_level="READ COMMITTED",
            hide_parameters=True,
            pool_size=1,
            connect_args={
                "connect_timeout": _CONNECT_S,
                # A server that waits for a lock reads nothing meanwhile.
                "tcp_user_timeout": int(2_000 * database.LOCK_S),
                "keepalives_idle": _KEEPALIVE_S,
                "keepalives_interval": _KEEPALIVE_S,
                "application_name": "millstream",
                "client_encoding": "utf8",
                # Connection poolers such as PgBouncer do not keep them.
                "prepare_threshold": None,
            },
        )
        super().__init__(engine, target, place)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Run a transaction that waits a bounded time."""
        with super().transaction() as connection:
            limits = {"lock": 1_000 * database.LOCK_S, "time": 1_000 * database.STATEMENT_S}
            values = {name: str(int(limit)) for name, limit in limits.items()}
            connection.execute(_LIMITS, {**values, "idle": str(_KEEPALIVE_S)})
            yield connection

    def find_schema(self, connection: Connection) -> str | None:
        """Return the schema of the target, else the one that the search path finds."""
        if self.target.schema_name:
            return self.target.schema_name
        found = connection.execute(_SCHEMA, {"table": self.target.table}).scalar()
        if found is None:
            raise self.refuse("the search path has no schema; expected one, or its name in it")
        return str(found)

    def find_columns(
        self, connection: Connection, schema: str | None, table: str
    ) -> dict[str, ExistingColumn]:
        """Return the columns of a table from the catalogue."""
        found = connection.execute(_COLUMNS, {"schema": schema, "table": table}).all()
        if found and found[0][0] not in ("r", "p"):
            raise self.refuse(f"{table} is no table; expected one, or a free name")
        return {
            name: ExistingColumn(f"{kind}, generated" if generated else kind, bool(required))
            for _, name, kind, required, generated in found
            if name is not None
        }

    def check_writable(self, connection: Connection, schema: str | None) -> None:
        """Check the rights to the schema and to the tables that are there."""
        rights = connection.execute(_RIGHTS, {"schema": schema}).one_or_none()
        if rights is None:
            raise self.refuse(f"there is no schema {schema!r}; expected one")
        read_only, encoding, may_use, may_create = rights
        if read_only:
            raise self.refuse("the database is read-only; expected one that may be written")
        if encoding not in ("UTF8", "SQL_ASCII"):
            raise self.refuse(f"the encoding of the database is {encoding}; expected UTF8")
        names = {"schema": schema, "table": self.target.table, "ledger": LEDGER}
        if missing := connection.execute(_MISSING_RIGHTS, names).first():
            raise self.refuse(f"permission denied; expected {missing[1]} on {missing[0]}")
        are_there = connection.execute(_FOUND, names).scalar() == 2
        if not (may_use and (may_create or are_there)):
            raise self.refuse(f"permission denied; expected CREATE in the schema {schema!r}")

    def unfit_name(self, names: Sequence[str]) -> str:
        """Return which name is cut or taken by the system."""
        for name in names:
            if len(name.encode()) > _LONGEST_NAME:
                return (
                    f"column {name!r} has a name of {len(name.encode())} bytes; expected at most "
                    f"{_LONGEST_NAME}, since PostgreSQL cuts it"
                )
            if name in _SYSTEM_COLUMNS:
                return f"column {name!r} has a name that PostgreSQL needs; expected another"
        return ""

    def lock(self, connection: Connection, name: str) -> None:
        """Hold an advisory lock, which `lock_timeout` bounds as any other."""
        query = text("select pg_advisory_xact_lock(hashtextextended(:name, 0))")
        connection.execute(query, {"name": f"millstream {name}"})

    def insert(
        self,
        connection: Connection,
        schema: str | None,
        names: Sequence[str],
        rows: Iterable[tuple[object, ...]],
    ) -> None:
        """Insert with COPY; texts are its format, which each type reads."""
        statement = sql.SQL("copy {} ({}) from stdin").format(
            sql.Identifier(str(schema), self.target.table),
            sql.SQL(", ").join(map(sql.Identifier, names)),
        )
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
