"""The database of a delivery: what PostgreSQL and SQLite do in ways of their own.

Every transaction waits for locks and statements a bounded time, see `LOCK_S` and `STATEMENT_S`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.types import TypeEngine

from tasks.common.errors import DeliveryError
from tasks.delivery.columns import Kind
from tasks.delivery.types import DeliveryTarget
from tasks.delivery.values import Dialect

LOCK_S = 30.0  # a lock is waited for; a lost server is noticed within it
STATEMENT_S = 600.0  # a statement may take: the COPY of a shard of a million rows takes a minute


@dataclass(frozen=True)
class SqlType:
    """A type of a database.

    Attributes:
        made: What a new column gets.
        name: What the database calls it.
        accepted: Names of all types that hold the same values.
    """

    made: TypeEngine[Any]
    name: str
    accepted: frozenset[str]


def sql_type(made: TypeEngine[Any], name: str, *others: str) -> SqlType:
    """Return a type, with the names of others that hold its values."""
    return SqlType(made, name, frozenset({name, *others}))


@dataclass(frozen=True)
class ExistingColumn:
    """A column of a table that is there.

    Attributes:
        type: As the database names it.
        required: Whether each row must give a value.
    """

    type: str
    required: bool


class Database(ABC):
    """A database that deliveries write to.

    Attributes:
        dialect: Which one.
        types: What holds which kind of values.
        most_columns: Of a table.
    """

    dialect: Dialect
    types: Mapping[Kind, SqlType]
    most_columns: int

    def __init__(self, engine: Engine, target: DeliveryTarget, place: str) -> None:
        self.engine = engine
        self.target = target
        self._place = place

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Run a transaction, which a failure takes back."""
        with self.engine.begin() as connection:
            yield connection

    @abstractmethod
    def find_schema(self, connection: Connection) -> str | None:
        """Return the schema of the table, or the one that a new table is made in.

        Raises:
            DeliveryError: If there is none.
        """

    @abstractmethod
    def find_columns(
        self, connection: Connection, schema: str | None, table: str
    ) -> dict[str, ExistingColumn]:
        """Return the columns of a table by their names, none if there is no such table.

        Raises:
            DeliveryError: If it is no table, but a view for example.
        """

    @abstractmethod
    def check_writable(self, connection: Connection, schema: str | None) -> None:
        """Check, without writing, that the tables may be made and written.

        Raises:
            DeliveryError: If they may not.
        """

    @abstractmethod
    def unfit_name(self, names: Sequence[str]) -> str:
        """Return why a table cannot have columns of these names, empty if it can."""

    @abstractmethod
    def lock(self, connection: Connection, name: str) -> None:
        """Wait until no other transaction holds a name, and hold it until the end of this one."""

    @abstractmethod
    def insert(
        self,
        connection: Connection,
        schema: str | None,
        names: Sequence[str],
        rows: Iterable[tuple[object, ...]],
    ) -> None:
        """Insert rows, which are taken one after the other, into the table of the target."""

    def folded(self, name: str) -> str:
        """Return what makes two names the same."""
        return name

    def refuse(self, what: str) -> DeliveryError:
        """Return an error that names the target, and the shard that is delivered."""
        return DeliveryError(f"{self._place}: {what}")
