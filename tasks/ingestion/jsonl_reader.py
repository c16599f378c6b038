"""JSON reader: rows with line numbers, malformed rows with their bytes, inferred columns."""

import json
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from decimal import Context, Decimal, InvalidOperation
from math import isinf
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.common.errors import DataError
from tasks.common.text import columns_called
from tasks.ingestion.column_types import (
    ExactNumber,
    JsonTypeInference,
    cast_values,
    is_null,
    to_json,
)
from tasks.ingestion.formats import MAX_COLUMNS, Record, without_break

logger = logging.getLogger(__name__)

# Fixed, so that a rejection does not depend on the depth of the caller's stack.
_MAX_DEPTH = 200

# Schema metadata of a text column with other values too; the survey stores the schema.
_MARK = {b"millstream": b"not only texts"}

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


# Of a number's text with a point.
_SURE_LENGTH = 16
_NEAR_ZERO = 1e-300

_MAX_ZEROS = 4_300  # before the first digit; as many digits as Python reads of an integer


class _RowError(ValueError):
    """A malformed line; the message is the reason for rejection."""


def read_json_rows(parts: Iterable[tuple[int, bytes]], not_decoded: str) -> Iterator[Record]:
    """Yield the rows, malformed ones included; blank parts are skipped.

    Args:
        parts: The lines of JSONL or the elements of an array, each with the number of its line.
        not_decoded: The reason to reject one that is not UTF-8.
    """
    for number, part in parts:
        if not part.strip(b" \t\r\n"):
            continue
        try:
            yield Record(number, len(part), _parse_object(part, not_decoded))
        except _RowError as refused:
            yield Record(number, len(part), None, without_break(part), str(refused))


def infer_schema(
    records: Iterable[Record], path: Path, texts: Collection[str]
) -> tuple[pa.Schema, int]:
    """Return the schema that fits all values, and the number of rows.

    Columns are in the order of first appearance. Those that `texts` mean with other values too are
    marked in their metadata; see `remove_marks`.

    Raises:
        DataError: If there are more than `MAX_COLUMNS` different keys.
    """
    columns: dict[str, JsonTypeInference] = {}
    rows = 0
    for record in records:
        rows += 1
        for key, value in (record.value or {}).items():
            if key not in columns:
                _check_keys(path, len(columns))
                columns[key] = JsonTypeInference()
            columns[key].add(value)
    kinds = {name: types.type for name, types in columns.items()}
    if mixed := sum(kind is None for kind in kinds.values()):
        logger.info(
            "%s: %d columns are read as text: their values have no common type", path, mixed
        )
    meant = {name for text in texts for name in columns_called(kinds, text)}
    fields = [
        pa.field(name, kind or pa.string(), metadata=None if kind or name not in meant else _MARK)
        for name, kind in kinds.items()
    ]
    return pa.schema(fields), rows


def column_names(records: Iterable[Record], path: Path) -> list[str]:
    """Return the different keys, in the order of first appearance.

    Raises:
        DataError: If there are more than `MAX_COLUMNS`.
    """
    names: dict[str, None] = {}
    for record in records:
        for key in record.value or ():
            if key not in names:
                _check_keys(path, len(names))
                names[key] = None
    return list(names)


def _check_keys(path: Path, known: int) -> None:
    if known == MAX_COLUMNS:
        raise DataError(f"{path}: more than {MAX_COLUMNS} different keys; expected columns")


def remove_marks(schema: pa.Schema) -> pa.Schema:
    """Return a schema without the marks of `infer_schema`."""
    fields = [field.remove_metadata() if _is_marked(field) else field for field in schema]
    return pa.schema(fields, metadata=schema.metadata)


def reject_non_text(records: Iterable[Record], schema: pa.Schema) -> Iterator[Record]:
    """Yield the records; those with neither string nor null in a marked column are rejected."""
    texts = [field.name for field in schema if _is_marked(field)]
    for record in records:
        values = (record.value.get(name) for name in texts) if record.value else ()
        odd = next((v for v in values if not is_null(v) and not isinstance(v, str)), None)
        if odd is None:
            yield record
        else:
            kind = "object" if isinstance(odd, dict) else type(odd).__name__
            kind = "float" if isinstance(odd, ExactNumber) else kind
            yield record._replace(reason=f"not text but {kind}")


def to_arrow_columns(block: Sequence[Record], schema: pa.Schema) -> list[pa.Array]:
    """Return the columns of some rows in the types of `schema`, with nulls for malformed rows.

    Raises:
        pa.ArrowException: If a value does not fit.
        OverflowError: If a number does not.
        KeyError: If a row has a key that is not in `schema`.
    """
    objects = [record.value or {} for record in block]
    if not set().union(*objects) <= set(schema.names):
        raise KeyError("a key that the schema lacks")
    return [cast_values([row.get(field.name) for row in objects], field.type) for field in schema]


def _is_marked(field: pa.Field) -> bool:
    return field.metadata is not None and _MARK.items() <= field.metadata.items()


def _parse_object(line: bytes, not_decoded: str) -> dict[str, Any]:
    try:
        text = line.decode()
        value = _DECODER.decode(text)
    except UnicodeDecodeError:
        raise _RowError(not_decoded) from None
    except json.JSONDecodeError:
        raise _RowError("not JSON") from None
    except RecursionError:
        raise _RowError("nested too deeply") from None
    if not isinstance(value, dict):
        raise _RowError("not an object")
    if text.count("[") + text.count("{") > _MAX_DEPTH and _is_deep(value):
        raise _RowError("nested too deeply")
    if _SURROGATE.search(text) and not _is_unicode(value):
        raise _RowError("a lone surrogate")
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


def _is_unicode(value: Any) -> bool:
    try:
        to_json(value).encode()
    except UnicodeEncodeError:
        return False
    return True


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # One of the values would be lost.
    result = dict(pairs)
    if len(result) < len(pairs):
        raise _RowError("a key twice in one object")
    return result


def _parse_integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:
        # Python refuses to convert more than 4,300 digits.
        raise _RowError("a number that is too large") from None


def _parse_float(digits: str) -> float | ExactNumber:
    """Return a double if it has the digits that are given, and else the number as it is written."""
    number = float(digits)
    if isinf(number):
        raise _RowError("a number that is too large")
    # A double has any 15 digits, except near zero.
    if (len(digits) <= _SURE_LENGTH and abs(number) > _NEAR_ZERO) or repr(number) == digits:
        return number
    try:
        exact = ExactNumber(digits)
    except InvalidOperation:
        raise _RowError("a number that is too small") from None
    if exact and exact.adjusted() < -_MAX_ZEROS:
        raise _RowError("a number that is too small")
    # Programs write a double with as few digits as it needs, or with a fixed number of them.
    as_many = Context(prec=len(exact.as_tuple().digits)).create_decimal_from_float(number)
    return number if exact in (as_many, Decimal(repr(number))) else exact


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_keys,
    parse_int=_parse_integer,
    parse_float=_parse_float,
    # Not JSON, but what Python's json and others write for NaN, Infinity and -Infinity.
    parse_constant=float,
)
