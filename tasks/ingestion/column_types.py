"""Types of columns, decided over a whole file: none changes what a cell or a value says."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

# Beyond these a key's values travel as their JSON: Arrow cannot read a schema that is nested more
# than about a hundred levels deep, and objects used as maps would grow with the file.
_DEEPEST = 50
_MOST_FIELDS = 1_000

_EXACT_IN_DOUBLE = 2**53


class CellTypes:
    """Finds the type that fits every cell of a CSV column."""

    def __init__(self) -> None:
        self._seen = False
        self._left = _CANDIDATES

    def add(self, cells: Sequence[str]) -> None:
        """Take further cells into account; empty ones fit any type."""
        if not self._left:
            return
        texts = pa.array(cells, pa.string())
        texts = texts.filter(pc.not_equal(texts, ""))
        if len(texts):
            self._seen = True
            self._left = tuple((kind, fits) for kind, fits in self._left if fits(texts))

    @property
    def type(self) -> pa.DataType:
        return self._left[0][0] if self._seen and self._left else pa.string()


def cells_as(cells: Sequence[str | None], kind: pa.DataType) -> pa.Array:
    """Return the cells of a CSV column in its type; empty ones are null unless it is text.

    Raises:
        pa.ArrowInvalid: If one does not fit.
    """
    if pa.types.is_string(kind):
        return pa.array(cells, kind)
    texts = pa.array([cell or None for cell in cells], pa.string())
    return texts.cast(kind)


def _comes_back(texts: pa.Array, kind: pa.DataType) -> bool:
    try:
        return bool(texts.cast(kind).cast(pa.string()).equals(texts))
    except pa.ArrowInvalid:
        return False


def _are_integers(texts: pa.Array) -> bool:
    return _comes_back(texts, pa.int64())


def _are_decimals(texts: pa.Array) -> bool:
    # As Python writes them, so that a version such as 1.10 stays what it is.
    plain = pc.match_substring_regex(texts, r"^-?[0-9]+\.[0-9]+$")
    return bool(pc.all(plain).as_py()) and all(
        repr(float(cell)) == cell for cell in texts.to_pylist() if cell is not None
    )


def _are_dates(texts: pa.Array) -> bool:
    # Arrow knows a year 0, Python does not.
    return _comes_back(texts, pa.date32()) and not pc.any(pc.starts_with(texts, "0000")).as_py()


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
    """The kinds of the values in one place, and what is inside them; a list's items are at None."""

    kinds: set[str] = field(default_factory=set)
    inner: dict[str | None, "_Node"] = field(default_factory=dict)


class ValueTypes:
    """Finds the type that fits every value of a JSONL key."""

    def __init__(self) -> None:
        self._root = _Node()
        self._fields = 0
        self._lost = False

    def add(self, value: Any) -> None:
        """Take a further value into account; null fits any type."""
        if not self._lost:
            self._add(self._root, value, 1)

    @property
    def type(self) -> pa.DataType | None:
        """`None` where the values have no common type, or one that Parquet cannot hold."""
        return None if self._lost else _type_of(self._root)

    def _add(self, node: _Node, value: Any, depth: int) -> None:
        if value is None:
            return
        node.kinds.add(_kind_of(value))
        for key, inner in _inner(value):
            if key not in node.inner:
                node.inner[key] = _Node()
                self._fields += 1
            if depth == _DEEPEST or self._fields > _MOST_FIELDS:
                self._lost, self._root = True, _Node()
            if self._lost:
                return
            self._add(node.inner[key], inner, depth + 1)


def _kind_of(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) <= _EXACT_IN_DOUBLE:
            return "int"
        return "long" if -(2**63) <= value < 2**63 else "huge"
    return type(value).__name__


def _type_of(node: _Node) -> pa.DataType | None:
    """Return the type of the values in a place, `None` if they have no common one."""
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


# Integers beyond 2**53 do not go through a double, those beyond 64 bits through no type.
_SIMPLE_TYPES: tuple[tuple[set[str], pa.DataType], ...] = (
    (set(), pa.null()),
    ({"int", "long"}, pa.int64()),
    ({"int", "float"}, pa.float64()),
    ({"bool"}, pa.bool_()),
    ({"str"}, pa.string()),
)


def values_as(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return the values of a JSONL key in its type; in a text column others are their JSON.

    Raises:
        pa.ArrowException: If one does not fit.
        OverflowError: If a number does not.
    """
    if pa.types.is_string(kind):
        values = [_text_of(value) for value in values]
    return pa.array(values, kind)


def _text_of(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _inner(value: Any) -> Iterable[tuple[str | None, Any]]:
    if isinstance(value, dict):
        return value.items()
    if isinstance(value, list):
        return ((None, item) for item in value)
    return ()
