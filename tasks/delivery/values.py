"""Values of a delivery: Arrow columns as what a driver stores.

Dates, times and decimals are texts in the notation of SQL, so that no range of Python's matters.
A value that the database cannot hold is replaced and counted: it must not keep out a shard.
"""

import math
import re
from collections.abc import Callable
from typing import Literal

import pyarrow as pa
import pyarrow.types as kinds

from tasks.common.arrow import python_values
from tasks.delivery.columns import Kind
from tasks.output.text_files import json_cells

Dialect = Literal["postgresql", "sqlite"]

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Behind an even number of backslashes, the first of which would escape the next.
_NUL_IN_JSON = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")

_UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}  # nanoseconds

_Storable = Callable[[object], object]


def sql_values(column: pa.Array, kind: Kind, dialect: Dialect) -> tuple[list[object], int]:
    """Return the values of a column for a driver, and how many of them are replaced.

    Args:
        column: The column.
        kind: What holds it, see `columns.kind_of`.
        dialect: The database.
    """
    values = _read(_plain(column), kind, dialect)
    storable = _STORABLE[dialect].get(kind)
    if storable is None:
        return values, 0
    stored = [None if value is None else storable(value) for value in values]
    return stored, sum(a is not b for a, b in zip(stored, values, strict=True))


def _plain(column: pa.Array) -> pa.Array:
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    if isinstance(column, pa.ExtensionArray) and not isinstance(column.type, pa.UuidType):
        return _plain(column.storage)
    return column


def _read(column: pa.Array, kind: Kind, dialect: Dialect) -> list[object]:
    if kind in ("zoned", "timestamp", "date", "time"):
        return _printed(_in_unit(column, dialect), "Z" if kind == "zoned" else "")
    if kind == "json":
        return [*json_cells(column)]
    if kind == "duration":
        return _durations(column, dialect)
    values = python_values(column)
    if kind in ("decimal", "long decimal"):
        return [None if value is None else format(value, "f") for value in values]
    if kind == "text" or (kind == "unsigned" and dialect == "sqlite"):
        return [None if value is None else str(value) for value in values]
    return values


def _in_unit(column: pa.Array, dialect: Dialect) -> pa.Array:
    """Return times without the nanoseconds that PostgreSQL would round."""
    if dialect == "postgresql" and kinds.is_time64(column.type):
        return column.cast(pa.time64("us"), safe=False)
    if dialect == "postgresql" and getattr(column.type, "unit", "") == "ns":
        return column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return column


def _printed(column: pa.Array, suffix: str) -> list[object]:
    """Return dates and times as Arrow prints them.

    It does not know every time zone, and with one it prints another year after 32767, so that it
    gets times of UTC without a zone.
    """
    if kinds.is_timestamp(column.type):
        column = column.view(pa.timestamp(column.type.unit))
    values = column.cast(pa.string()).to_pylist()
    return [None if value is None else value + suffix for value in values]


def _durations(column: pa.Array, dialect: Dialect) -> list[object]:
    unit = _UNITS[column.type.unit]
    values = column.cast(pa.int64()).to_pylist()
    if dialect == "sqlite":
        return [None if value is None else value * unit / 10**9 for value in values]
    return [None if value is None else f"{value * unit // 1_000} microseconds" for value in values]


def _text(value: object) -> object:
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes that are not UTF-8
        return text.encode(errors="surrogateescape").decode(errors="replace")
    return value


def _text_without_nul(value: object) -> object:
    text = str(_text(value))
    return text.replace("\0", _REPLACEMENT) if "\0" in text else _text(value)


def _json(value: object) -> object:
    """Return a list or an object, but no text, which is the type of what Python cannot hold."""
    return None if str(value).startswith('"') else value


def _json_without_nul(value: object) -> object:
    text = str(value)
    if r"\u0000" not in text:
        return _json(value)
    replaced = _NUL_IN_JSON.sub(rf"\1{_REPLACEMENT}", text)
    return value if replaced == text else replaced


def _in_range(value: object) -> object:
    """Return a date that Arrow could print."""
    return None if str(value).startswith("<") else value


def _of_our_era(value: object) -> object:
    """Return a date that PostgreSQL reads: it writes years before 1 in another way."""
    return None if str(value).startswith(("<", "-", "0000")) else value


def _interval(value: object) -> object:
    return value if abs(int(str(value).split()[0])) < 2**63 else None


def _no_nan(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value


_STORABLE: dict[Dialect, dict[Kind, _Storable]] = {
    "postgresql": {
        "text": _text_without_nul,
        "json": _json_without_nul,
        "duration": _interval,
        "zoned": _of_our_era,
        "timestamp": _of_our_era,
        "date": _of_our_era,
    },
    "sqlite": {
        "text": _text,
        "json": _json,
        "number": _no_nan,
        "zoned": _in_range,
        "timestamp": _in_range,
        "date": _in_range,
    },
}
