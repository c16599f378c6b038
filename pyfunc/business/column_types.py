"""Types of looked-up values and decisions, the same in every database, table and data frame."""

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa

from .spec import ColumnType, KeyType

ARROW_TYPES: dict[ColumnType, pa.DataType] = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
    "date": pa.date32(),
}

# Whole numbers and truths keep their type beside nulls; a text or a float that is missing is NaN,
# so that a comparison with it is false and not missing.
_PANDAS_TYPES = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}

_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}

_FRACTION_OF_ZEROS = re.compile(r"\.0+\Z")
_WHOLE_NUMBER = re.compile(r"\s*[+-]?[0-9]+\s*\Z")  # `int` takes 1_0 and digits of any script

_INT64 = range(-(2**63), 2**63)

# A fraction as large may stand for several whole numbers.
_EXACT = 2**53
_DIGITS_OF_KEYS = 40

# Modules of types whose values `str` writes as databases do: times, intervals, UUIDs, addresses.
_WRITTEN_BY_STR = ("datetime", "decimal", "ipaddress", "uuid")


def is_null(value: object) -> bool:
    """Return whether a value is missing: None, NaN, NaT or pandas' NA."""
    if isinstance(value, str | int):
        return False
    if isinstance(value, Decimal):
        return value.is_nan()
    if isinstance(value, float):
        return value != value
    return value is None or value is pd.NA or value is pd.NaT


def to_python(value: Any) -> Any:
    """Return a scalar of numpy as Python has it, and any other value as it is."""
    if not isinstance(value, np.generic):
        return value
    if isinstance(value, np.datetime64):
        return pd.Timestamp(value)
    return pd.Timedelta(value) if isinstance(value, np.timedelta64) else value.item()


def to_pandas(column: pa.Array | pa.ChunkedArray) -> pd.Series:
    """Return a column as rules see it; missing values are NA, NaN or NaT."""
    series: pd.Series = column.to_pandas(types_mapper=_PANDAS_TYPES.get)
    return series


def convert(value: Any, kind: ColumnType) -> Any:
    """Return a value as a type has it; None for one that is missing.

    Raises:
        ValueError: If the value is none of that type; the message does not quote it.
    """
    value = to_python(value)
    if value is None or is_null(value):
        return None
    try:
        return _CONVERTERS[kind](value)
    except (TypeError, ValueError, ArithmeticError, RecursionError):
        raise ValueError(f"a {type(value).__name__} is no {kind}") from None


def _to_string(value: Any) -> str:
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, str):
        value.encode()  # a lone surrogate is no text
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, int | float) or type(value).__module__ in _WRITTEN_BY_STR:
        return str(value)
    raise TypeError


def _to_integer(value: Any) -> int:
    if isinstance(value, str) and not _WHOLE_NUMBER.match(value):
        raise ValueError
    if isinstance(value, Decimal) and value.adjusted() > _DIGITS_OF_KEYS:  # `int` takes hours
        raise ValueError
    number = int(value)
    if (isinstance(value, float | Decimal) and number != value) or number not in _INT64:
        raise ValueError
    return number


def _to_number(value: Any) -> float | None:
    if isinstance(value, str) and "_" in value:
        raise ValueError
    number = float(value)
    return None if is_null(number) else number


def _to_boolean(value: Any) -> bool:
    # SQLite has no booleans, and CSV files spell them.
    if isinstance(value, str):
        found = _BOOLEANS.get(value.strip().lower())
        return _refuse() if found is None else found
    return bool(value) if value in (0, 1) else _refuse()


def _to_timestamp(value: Any) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if isinstance(moment, pd.Timestamp):
        moment = moment.to_pydatetime(warn=False)
    if not isinstance(moment, date):
        raise TypeError
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)  # noqa: DTZ001 -- given below
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _to_date(value: Any) -> date:
    if isinstance(value, str):
        return date.fromisoformat(value)
    if isinstance(value, datetime):
        return value.date()
    return value if isinstance(value, date) else _refuse()


def _refuse() -> Any:
    raise TypeError


_OF_PYTHON: dict[type, ColumnType] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    Decimal: "number",
    datetime: "timestamp",
    pd.Timestamp: "timestamp",
    date: "date",
}

_OF_NUMPY: dict[str, ColumnType] = {
    "b": "boolean",
    "i": "integer",
    "u": "integer",
    "f": "number",
    "M": "timestamp",
}

_CONVERTERS: dict[ColumnType, Callable[[Any], Any]] = {
    "string": _to_string,
    "integer": _to_integer,
    "number": _to_number,
    "boolean": _to_boolean,
    "timestamp": _to_timestamp,
    "date": _to_date,
}


def to_schema(columns: Mapping[str, ColumnType]) -> pa.Schema:
    """Return the Arrow schema of columns."""
    return pa.schema([(name, ARROW_TYPES[kind]) for name, kind in columns.items()])


def type_of(series: pd.Series) -> ColumnType:
    """Return the type of a column that a rule returned; without a value, that of its dtype."""
    found = {type(to_python(value)) for value in series.tolist() if not is_null(value)}
    if not found:
        return _OF_NUMPY.get(series.dtype.kind, "string")
    kinds = {_OF_PYTHON.get(kind, "string") for kind in found}
    if kinds == {"integer", "number"}:
        return "number"
    return kinds.pop() if len(kinds) == 1 else "string"


def to_key(value: Any, kind: KeyType) -> Any:
    """Return a value as the key of a look-up, or None if no row can have it.

    A number is the same key in CSV, in Parquet, and in a column with nulls, which many programs
    write as fractions. Blanks around a text do not count.

    Args:
        value: Of any type.
        kind: The type of the column that keys are compared with.
    """
    value = to_python(value)
    if is_null(value) or isinstance(value, bool):
        return None
    if isinstance(value, str):
        value = value.strip()
        if not value or "\0" in value:  # PostgreSQL has no text with NUL
            return None
        if kind == "integer":
            value = _FRACTION_OF_ZEROS.sub("", value)
    elif isinstance(value, float | Decimal):
        value = _without_fraction(value) if kind != "number" else value
    elif not isinstance(value, int | date | UUID):
        return None
    try:
        return str(UUID(str(value))) if kind == "uuid" else convert(value, kind)
    except ValueError:
        return None


def _without_fraction(value: float | Decimal) -> Any:
    """Return a number as a whole one if it is; None if it is too large to tell which."""
    if isinstance(value, float):
        if math.isfinite(value) and abs(value) >= _EXACT:
            return None
    elif value.adjusted() > _DIGITS_OF_KEYS:  # `int` takes hours
        return None
    return int(value) if math.isfinite(value) and value == int(value) else value
