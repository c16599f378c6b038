"""The rows of JSONL files, each with its place; malformed ones with their bytes."""

import json
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from math import isinf
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.common.errors import DataError
from tasks.ingestion.column_types import ValueTypes, values_as
from tasks.ingestion.formats import Record, without_break

logger = logging.getLogger(__name__)

MOST_COLUMNS = 10_000

# A fixed depth, so that what is rejected does not hang on the depth of the caller's stack.
_DEEPEST = 200

# Of a column that should have held nothing but texts; in the schema, where the survey keeps it.
_MARK = {b"millstream": b"not only texts"}

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class _RefusedError(ValueError):
    """A line that is no row; its message is the reason."""


def read(lines: Iterator[bytes]) -> Iterator[Record]:
    """Yield the rows, malformed ones included; blank lines are no rows."""
    for number, line in enumerate(lines, start=1):
        if not line.strip(b" \t\r\n"):
            continue
        try:
            yield Record(number, len(line), _object_in(line))
        except _RefusedError as refused:
            yield Record(number, len(line), None, without_break(line), str(refused))


def schema_of(
    records: Iterable[Record], path: Path, texts: Collection[str]
) -> tuple[pa.Schema, int]:
    """Return the schema that fits every value, and the number of rows.

    The columns stand as they first appear. Those of `texts` that have other values beside texts
    are marked, see `without_marks`.

    Raises:
        DataError: If there are more than `MOST_COLUMNS` different keys.
    """
    columns: dict[str, ValueTypes] = {}
    rows = 0
    for record in records:
        rows += 1
        for key, value in (record.value or {}).items():
            if key not in columns:
                columns[key] = ValueTypes()
            columns[key].add(value)
        if len(columns) > MOST_COLUMNS:
            raise DataError(f"{path}: more than {MOST_COLUMNS} different keys; expected columns")
    kinds = {name: types.type for name, types in columns.items()}
    if mixed := sum(kind is None for kind in kinds.values()):
        logger.info("%s: %d columns without a common type travel as text", path, mixed)
    fields = [
        pa.field(name, kind or pa.string(), metadata=None if kind or name not in texts else _MARK)
        for name, kind in kinds.items()
    ]
    return pa.schema(fields), rows


def without_marks(schema: pa.Schema) -> pa.Schema:
    """Return a schema without the marks of `schema_of`."""
    fields = [field.remove_metadata() if _is_marked(field) else field for field in schema]
    return pa.schema(fields, metadata=schema.metadata)


def with_texts_checked(records: Iterable[Record], schema: pa.Schema) -> Iterator[Record]:
    """Reject the rows that have another value than a string or null in a marked column."""
    texts = [field.name for field in schema if _is_marked(field)]
    for record in records:
        values = (record.value.get(name) for name in texts) if record.value else ()
        odd = next((v for v in values if v is not None and not isinstance(v, str)), None)
        if odd is None:
            yield record
        else:
            kind = "object" if isinstance(odd, dict) else type(odd).__name__
            yield record._replace(reason=f"not text but {kind}")


def arrays_of(block: Sequence[Record], schema: pa.Schema) -> list[pa.Array]:
    """Return the columns of some rows in the types of `schema`, nulls in malformed rows.

    Raises:
        pa.ArrowException: If a value does not fit.
        OverflowError: If a number does not.
        KeyError: If there is another key than those of `schema`.
    """
    objects = [record.value or {} for record in block]
    if not set().union(*objects) <= set(schema.names):
        raise KeyError("a key that the schema lacks")
    return [values_as([row.get(field.name) for row in objects], field.type) for field in schema]


def _is_marked(field: pa.Field) -> bool:
    return field.metadata is not None and _MARK.items() <= field.metadata.items()


def _object_in(line: bytes) -> dict[str, Any]:
    try:
        text = line.decode()
        value = _DECODER.decode(text)
    except UnicodeDecodeError:
        raise _RefusedError("not UTF-8") from None
    except json.JSONDecodeError:
        raise _RefusedError("not JSON") from None
    except RecursionError:
        raise _RefusedError("nested too deeply") from None
    if not isinstance(value, dict):
        raise _RefusedError("not an object")
    if text.count("[") + text.count("{") > _DEEPEST and _is_deep(value):
        raise _RefusedError("nested too deeply")
    if _SURROGATE.search(text) and not _is_unicode(value):
        raise _RefusedError("a lone surrogate")
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
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
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # One of the values would be lost.
    result = dict(pairs)
    if len(result) < len(pairs):
        raise _RefusedError("a key twice in one object")
    return result


def _integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:
        # Python refuses to convert more than 4,300 digits.
        raise _RefusedError("a number that is too large") from None


def _float(digits: str) -> float:
    number = float(digits)
    if isinf(number):
        raise _RefusedError("a number that is too large")
    return number


def _constant(_name: str) -> None:
    raise _RefusedError("not JSON")  # NaN, Infinity or -Infinity


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object_of,
    parse_int=_integer,
    parse_float=_float,
    parse_constant=_constant,
)
