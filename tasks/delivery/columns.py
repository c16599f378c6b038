"""Columns of a delivery: which kind of SQL column holds an Arrow column."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.types as kinds

Kind = Literal[
    "text",
    "nothing",
    "integer",
    "unsigned",
    "number",
    "boolean",
    "zoned",
    "timestamp",
    "date",
    "time",
    "duration",
    "decimal",
    "long decimal",
    "binary",
    "json",
]

# What a column is called whose name is empty, as the index is that pandas writes to CSV.
UNNAMED = "unnamed"

_EXACT_DIGITS = 15  # of a decimal that SQLite keeps as a number

_KINDS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("text", ("is_string", "is_large_string", "is_string_view")),
    ("nothing", ("is_null",)),
    ("unsigned", ("is_uint64",)),
    ("integer", ("is_integer",)),
    ("number", ("is_floating",)),
    ("boolean", ("is_boolean",)),
    ("date", ("is_date",)),
    ("time", ("is_time",)),
    ("duration", ("is_duration",)),
    (
        "binary",
        ("is_binary", "is_large_binary", "is_binary_view", "is_fixed_size_binary"),
    ),
)


@dataclass(frozen=True)
class Column:
    """A column of a delivery.

    Attributes:
        name: In the database.
        kind: What holds its values.
    """

    name: str
    kind: Kind


def columns_of(schema: pa.Schema) -> tuple[Column, ...]:
    """Return the SQL columns of a table, in its order."""
    return tuple(Column(field.name or UNNAMED, kind_of(field.type)) for field in schema)


def unite_columns(
    files: Mapping[str, Sequence[Column]], folded: Callable[[str], str]
) -> tuple[Column, ...]:
    """Return the columns that hold the rows of several files, in the order of the first.

    Args:
        files: The columns of each file by its name.
        folded: Returns what makes two names of columns the same.

    Raises:
        ValueError: If a column has values of two kinds, naming it, both, and a file of each.
    """
    united: dict[str, tuple[str, Column]] = {}
    for file, columns in files.items():
        for column in columns:
            name = folded(column.name)
            earlier, other = united.setdefault(name, (file, column))
            if other.kind == "nothing":
                united[name] = file, column
            elif column.kind not in ("nothing", other.kind):
                raise ValueError(
                    f"the column {column.name!r} is {other.kind} in {earlier} and {column.kind} in "
                    f"{file}; expected one type in all files"
                )
    return tuple(column for _, column in united.values())


def kind_of(arrow: pa.DataType) -> Kind:
    """Return what holds the values of an Arrow type."""
    if kinds.is_dictionary(arrow):
        return kind_of(arrow.value_type)
    if isinstance(arrow, pa.UuidType):
        return "text"
    if isinstance(arrow, pa.BaseExtensionType):
        return kind_of(arrow.storage_type)
    if kinds.is_timestamp(arrow):
        return "timestamp" if arrow.tz is None else "zoned"
    if kinds.is_decimal(arrow):
        # A negative scale adds zeros.
        digits = arrow.precision - min(arrow.scale, 0)
        return "decimal" if digits <= _EXACT_DIGITS else "long decimal"
    for kind, tests in _KINDS:
        if any(getattr(kinds, test)(arrow) for test in tests):
            return kind
    return "json"
