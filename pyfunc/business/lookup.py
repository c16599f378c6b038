"""One look-up: rows of keys to columns, one query a window, with a retry."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..errors import SettingError, SourceError
from .addresses import EXPECTED, parse_address, source_variable
from .column_types import ARROW_TYPES, convert, is_null, to_key
from .database import Database, Rows
from .source_errors import describe_source_error, is_of_a_value, is_of_no_row
from .spec import LOOKED_UP_AT, LookupSpec
from .table_file import TableFile

logger = logging.getLogger("pyfunc.business")

# A query has as many keys at most; PostgreSQL takes 65,535 and SQLite 32,766.
WINDOW_ROWS = 2_048

# Of the table of a look-up, after its own columns.
PROBLEM, FAILED = "problem", "failed"


@dataclass(frozen=True, slots=True)
class _Found:
    """What a query found.

    Attributes:
        values: The columns of each key that has a row, as the spec types them.
        problems: Why a key has no values although it may have a row.
    """

    values: Mapping[Any, tuple[Any, ...]]
    problems: Mapping[Any, str]


class Lookup:
    """A look-up of a pipeline.

    Args:
        spec: What to look up.
        find_address: Returns where a source is; empty if it has no address.
    """

    def __init__(self, spec: LookupSpec, find_address: Callable[[str], str]) -> None:
        self.spec = spec
        self._find_address = find_address
        self._database: Database | None = None
        self._address = ""
        self._lock = threading.Lock()
        self._has_warned = False

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns of the table that `run` returns."""
        own = [(name, ARROW_TYPES[kind]) for name, kind in self.spec.columns.items()]
        moment = (LOOKED_UP_AT, ARROW_TYPES["timestamp"])
        return pa.schema([*own, (PROBLEM, pa.string()), (FAILED, pa.bool_()), moment])

    def run(self, keys: Sequence[object]) -> pa.Table:
        """Look up the keys of rows.

        Args:
            keys: One a row, of any type; a missing one is looked up nowhere.

        Returns:
            A row for each: the columns of the query, nulls if there is nothing; `problem`, why the
            row is refused, or null; `failed`, whether that or its nulls are a failure's; and
            `looked_up_at`.
        """
        windows = [keys[start : start + WINDOW_ROWS] for start in range(0, len(keys), WINDOW_ROWS)]
        return pa.concat_tables([self.schema.empty_table(), *map(self._run_window, windows)])

    def close(self) -> None:
        """Close its connections that are not in use."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _run_window(self, rows: Sequence[object]) -> pa.Table:
        moment = datetime.now(UTC)
        keys = [to_key(value, self.spec.key_type) for value in rows]
        distinct = sorted({key for key in keys if key is not None})
        found = self._find(distinct) if distinct else _Found({}, {})
        return self._table(rows, keys, found, moment)

    def _table(
        self, rows: Sequence[object], keys: Sequence[Any], found: _Found, moment: datetime
    ) -> pa.Table:
        nothing = (None,) * len(self.spec.columns)
        values = [found.values.get(key, nothing) for key in keys]
        columns = [list(column) for column in zip(*values, strict=True)]
        columns = columns or [[] for _ in nothing]
        problems = [self._problem(given, key, found) for given, key in zip(rows, keys, strict=True)]
        failed = [key in found.problems for key in keys]
        moments = [moment] * len(rows)
        return pa.table([*columns, problems, failed, moments], schema=self.schema)

    def _problem(self, given: object, key: object, found: _Found) -> str | None:
        """Return why a row is refused, or None if it is not."""
        if key in found.values:
            return None
        if key in found.problems:
            reason, what = found.problems[key], self.spec.on_error
        else:
            reason = f"no {self.spec.key}" if is_null(given) else f"no row of this {self.spec.key}"
            what = self.spec.missing
        return f"{self.spec.name}: {reason}" if what == "reject" else None

    def _find(self, keys: Sequence[Any]) -> _Found:
        """Query for keys; if one of them makes the query fail, each half, down to single keys."""
        try:
            return self._read(*self._fetch(keys))
        except Exception as error:  # noqa: BLE001 -- it fails its rows, never the call
            if len(keys) == 1 and is_of_no_row(error):
                return _Found({}, {})
            if len(keys) == 1 or not is_of_a_value(error):
                return self._failed(keys, self._describe(error))
        middle = len(keys) // 2
        first, second = self._find(keys[:middle]), self._find(keys[middle:])
        return _Found({**first.values, **second.values}, {**first.problems, **second.problems})

    def _fetch(self, keys: Sequence[Any]) -> tuple[list[str], Rows]:
        database = self._open()
        try:
            return database.fetch(self.spec.query, keys)
        except Exception as error:
            if is_of_a_value(error):
                raise
            logger.debug("%s: tried again: %s", self.spec.name, self._describe(error))
        return database.fetch(self.spec.query, keys)

    def _read(self, names: Sequence[str], rows: Rows) -> _Found:
        if list(names[1:]) != list(self.spec.columns):  # as of `select *` of a changed table
            raise SourceError("the query has other columns than at the build")
        values: dict[Any, tuple[Any, ...]] = {}
        problems: dict[Any, str] = {}
        for key, *columns in rows:
            known = to_key(key, self.spec.key_type)
            if known in values or known in problems:
                values.pop(known, None)
                problems[known] = "several rows; expected one"
                continue
            try:
                values[known] = tuple(map(convert, columns, self.spec.columns.values()))
            except ValueError as error:
                problems[known] = str(error)
        # A row that has no key is that of none, and not of the rows without one.
        values.pop(None, None)
        problems.pop(None, None)
        if problems:
            self._warn_once(next(iter(problems.values())))
        return _Found(values, problems)

    def _open(self) -> Database:
        source = self.spec.source
        address = self._find_address(source)
        with self._lock:
            if self._database is None or address != self._address:
                self.close()
                self._database = open_source(source, address, self.spec.timeout_ms)
                self._address = address
            return self._database

    def _describe(self, error: Exception) -> str:
        if isinstance(error, SettingError | SourceError):
            return str(error)
        return describe_source_error(error, self.spec.timeout_ms)

    def _failed(self, keys: Sequence[Any], reason: str) -> _Found:
        reason = f"{self.spec.source}: {reason}"
        self._warn_once(reason)
        return _Found({}, dict.fromkeys(keys, reason))

    def _warn_once(self, reason: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning("look-up %s failed: %s", self.spec.name, reason)


def open_source(name: str, address: str, timeout_ms: int) -> Database:
    """Open a source; nothing is read yet.

    Raises:
        SettingError: If it has no address, or one that is none.
    """
    if not address:
        raise SettingError(f"{source_variable(name)}: not set; {EXPECTED}")
    place = parse_address(name, address)
    return TableFile(place, timeout_ms) if isinstance(place, Path) else Database(place, timeout_ms)
