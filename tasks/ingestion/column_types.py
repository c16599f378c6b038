"""Lossless type inference for CSV and JSON columns, over all values of a file."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

# Beyond these a key's values become JSON text: Arrow cannot read a schema nested more than about
# a hundred levels deep, and the fields of objects used as maps would grow with the file.
_MAX_DEPTH = 50
_MAX_FIELDS = 1_000

_EXACT_IN_DOUBLE = 2**53


class ExactNumber(Decimal):
    """A number of JSON that a double would change; its text is as it is written."""

    def __init__(self, digits: str) -> None:
        """Keep the digits."""
        self._digits = digits

    def __str__(self) -> str:
        return self._digits


class CsvTypeInference:
    """Infers the type of a CSV column: the first candidate that every cell fits, or string."""

    def __init__(self) -> None:
        self._seen = False
        self._left = _CANDIDATES

    def add(self, cells: Sequence[str]) -> None:
        """Add cells; empty ones fit any type."""
        if not self._left:
            return
        texts = pa.array(cells, pa.string())
        texts = texts.filter(pc.not_equal(texts, ""))
        if len(texts):
            self._seen = True
            self._left = tuple((type_, fits) for type_, fits in self._left if fits(texts))

    @property
    def type(self) -> pa.DataType:
        return self._left[0][0] if self._seen and self._left else pa.string()


def cast_cells(cells: Sequence[str | None], kind: pa.DataType) -> pa.Array:
    """Return the cells of a CSV column in its type; empty ones are null, except in a text column.

    Raises:
        pa.ArrowInvalid: If one does not fit.
    """
    if pa.types.is_string(kind):
        return pa.array(cells, kind)
    texts = pa.array([cell or None for cell in cells], pa.string())
    return texts.cast(kind)


def _round_trips(texts: pa.Array, kind: pa.DataType) -> bool:
    try:
        return bool(texts.cast(kind).cast(pa.string()).equals(texts))
    except pa.ArrowInvalid:
        return False


def _are_integers(texts: pa.Array) -> bool:
    return _round_trips(texts, pa.int64())


def _are_decimals(texts: pa.Array) -> bool:
    # Only in Python's notation, so that a version such as 1.10 stays text.
    plain = pc.match_substring_regex(texts, r"^-?[0-9]+\.[0-9]+$")
    return bool(pc.all(plain).as_py()) and all(
        repr(float(cell)) == cell for cell in texts.to_pylist() if cell is not None
    )


def _are_dates(texts: pa.Array) -> bool:
    # Arrow knows a year 0, Python does not.
    return _round_trips(texts, pa.date32()) and not pc.any(pc.starts_with(texts, "0000")).as_py()


def _are_one_of(*spellings: str) -> Callable[[pa.Array], bool]:
    return lambda texts: bool(pc.all(pc.is_in(texts, pa.array(spellings))).as_py())


_CANDIDATES: tuple[tuple[pa.DataType, Callable[[pa.Array], bool]], ...] = (
    (pa.int64(), _are_integers),
    (pa.float64(), _are_decimals),
    (pa.bool_(), _are_one_of("true", "false")),
    (pa.bool_(), _are_one_of("True", "False")),
    (pa.bool_(), _are_one_of("TRUE", "FALSE")),
    (pa.date32(), _are_dates),
)


@dataclass
class _Node:
    """The kinds of the values at one JSON path, and the nodes below; None is a list's items."""

    kinds: set[str] = field(default_factory=set)
    inner: dict[str | None, "_Node"] = field(default_factory=dict)


class JsonTypeInference:
    """Infers the type of a JSONL key."""

    def __init__(self) -> None:
        self._root = _Node()
        self._fields = 0
        self._untyped = False

    def add(self, value: Any) -> None:
        """Add a value; null fits any type."""
        if not self._untyped:
            self._add(self._root, value, 1)

    @property
    def type(self) -> pa.DataType | None:
        """`None` if the values have no common type, or one that Parquet cannot store."""
        return None if self._untyped else _type_of(self._root)

    def _add(self, node: _Node, value: Any, depth: int) -> None:
        if value is None:
            return
        node.kinds.add(_value_kind(value))
        for key, inner in _children(value):
            if key not in node.inner:
                node.inner[key] = _Node()
                self._fields += 1
            if depth == _MAX_DEPTH or self._fields > _MAX_FIELDS:
                self._untyped, self._root = True, _Node()
            if self._untyped:
                return
            self._add(node.inner[key], inner, depth + 1)


def _value_kind(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) <= _EXACT_IN_DOUBLE:
            return "int"
        return "long" if -(2**63) <= value < 2**63 else "huge"
    return type(value).__name__


def _type_of(node: _Node) -> pa.DataType | None:
    for kinds, simple in _SIMPLE_TYPES:
        if node.kinds <= kinds:
            return simple
    inner = {key: _type_of(child) for key, child in node.inner.items()}
    if None in inner.values():
        return None
    if node.kinds == {"list"}:
        return pa.list_(inner.get(None, pa.null()))
    # Parquet has no empty structs.
    return pa.struct(list(inner.items())) if node.kinds == {"dict"} and inner else None


# A double is not exact for integers beyond 2**53; no type holds those beyond 64 bits.
_SIMPLE_TYPES: tuple[tuple[set[str], pa.DataType], ...] = (
    (set(), pa.null()),
    ({"int", "long"}, pa.int64()),
    ({"int", "float"}, pa.float64()),
    ({"bool"}, pa.bool_()),
    ({"str"}, pa.string()),
)


def cast_values(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return the values of a JSONL key in its type; a text column has others as JSON.

    Raises:
        pa.ArrowException: If one does not fit.
        OverflowError: If a number does not.
    """
    if pa.types.is_string(kind):
        values = [_to_text(value) for value in values]
    return pa.array(values, kind)


def is_null(value: Any) -> bool:
    """Return whether a value is null, or NaN, which is what some write for it."""
    return value is None or value != value


def _to_text(value: Any) -> str | None:
    if is_null(value):
        return None
    if isinstance(value, str):
        return value
    return to_json(value)


def to_json(value: Any) -> str:
    """Return a value as JSON, with numbers as they are written where a double would change them."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except TypeError:  # it is or has an ExactNumber
        if isinstance(value, dict):
            pairs = (f"{to_json(key)}: {to_json(inner)}" for key, inner in value.items())
            return f"{{{', '.join(pairs)}}}"
        return f"[{', '.join(map(to_json, value))}]" if isinstance(value, list) else str(value)


def _children(value: Any) -> Iterable[tuple[str | None, Any]]:
    if isinstance(value, dict):
        return value.items()
    if isinstance(value, list):
        return ((None, item) for item in value)
    return ()
