"""Databases with customers, and look-ups in them."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

import psycopg

from pyfunc.business.lookup import Lookup, open_source
from pyfunc.business.spec import LookupSpec
from tests.support.postgres import PASSWORD, USER

CUSTOMERS = (
    "create table customer (id integer primary key, tier text, credit numeric(9, 2), vip boolean)",
    (
        "insert into customer values (1, 'gold', 2.5, true), (2, 'basic', 0, false), "
        "(3, null, null, null)"
    ),
)
QUERY = "select id, tier from customer where id in :keys"

# What no message, log line or document may have.
SECRETS = (PASSWORD, USER, "127.0.0.1", "crm.db", "sqlite:", "postgresql:", "select ", "SELECT ")


@dataclass(frozen=True)
class Source:
    """A database of its own.

    Attributes:
        backend: Which kind.
        url: Its address.
    """

    backend: Literal["postgresql", "sqlite"]
    url: str

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements; return the rows of the last."""
        if self.backend == "sqlite":
            with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"))) as file, file:
                return [file.execute(one).fetchall() for one in statements][-1]
        with psycopg.connect(self.url) as connection:
            done = [connection.execute(one.encode()) for one in statements][-1]
            return done.fetchall() if done.description else []

    def look_up(self, query: str = QUERY, **settings: Any) -> Lookup:
        """Return a look-up with the types that the database reports, as a build has them."""
        timeout_ms = settings.setdefault("timeout_ms", 1_000)
        database = open_source("crm", self.url, timeout_ms)
        (_, key_type), *columns = database.describe(query)
        database.close()
        types = {name: "string" if kind == "uuid" else kind for name, kind in columns}
        spec = LookupSpec(
            name="customer",
            source="crm",
            key="customer_id",
            query=query,
            **{"key_type": key_type, "columns": types} | settings,
        )
        return Lookup(spec, lambda _: self.url)


def found(lookup: Lookup, keys: Sequence[object]) -> list[Any]:
    """Return the columns of each row, or why it is refused; what failed is marked."""
    rows = lookup.run(keys).to_pylist()
    names = list(lookup.spec.columns)
    values = [row["problem"] or tuple(row[name] for name in names) for row in rows]
    return [
        (one, "failed") if row["failed"] else one for row, one in zip(rows, values, strict=True)
    ]
