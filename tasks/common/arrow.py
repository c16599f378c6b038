"""Arrow columns as Python values, without an error for what Python cannot hold.

Of a table with answers, the schema may say which columns are input, so that it can be read again.
"""

import json
from collections.abc import Sequence
from datetime import time
from typing import Self

import pyarrow as pa


class NanosecondTime(time):
    """A time of day with nanoseconds, of which Python's has whole microseconds alone.

    Args:
        nanoseconds: Since midnight.
    """

    nanoseconds: int

    def __new__(cls, nanoseconds: int) -> Self:
        """Take nanoseconds since midnight; a ValueError says that they are more than a day."""
        seconds, rest = divmod(nanoseconds, 10**9)
        self = super().__new__(cls, seconds // 3600, seconds // 60 % 60, seconds % 60, rest // 1000)
        self.nanoseconds = nanoseconds
        return self

    def __str__(self) -> str:
        return f"{self.isoformat('microseconds')}{self.nanoseconds % 1000:03}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NanosecondTime) and self.nanoseconds == other.nanoseconds

    def __hash__(self) -> int:
        return hash(self.nanoseconds)


_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


def python_values(column: pa.Array | pa.ChunkedArray) -> list[object]:
    """Return the values of a column; null is None.

    A string that is not UTF-8 gets lone surrogates; of a value that Python cannot hold, as a date
    after the year 9999 or in an unknown time zone, the type is returned. A float of 32 bits is the
    shortest decimal that stands for it. What has nanoseconds keeps them.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_float32(column.type):
        return [value and float(value) for value in column.cast(pa.string()).to_pylist()]
    if not any(is_text(column.type) for is_text in _TEXTS):
        return [_python_value(value) for value in column]
    texts = column.cast(pa.large_binary()).to_pylist()
    return [text if text is None else text.decode(errors="surrogateescape") for text in texts]


def _python_value(value: pa.Scalar) -> object:
    try:
        # Arrow would cut the nanoseconds of a time; its dates and durations are those of pandas.
        if isinstance(value, pa.Time64Scalar) and value.type.unit == "ns" and value.is_valid:
            return _time(value.value)
        return value.as_py()
    except (OverflowError, ValueError, KeyError):  # KeyError: an unknown time zone
        return value.type


def _time(nanoseconds: int) -> time:
    exact = NanosecondTime(nanoseconds)
    return exact if nanoseconds % 1000 else time.fromisoformat(exact.isoformat())


def decoded_bytes(batch: pa.RecordBatch) -> int:
    """Return the bytes of a batch's values; one of a dictionary counts each time it is used."""
    size: int = batch.nbytes
    for column in batch.columns:
        if isinstance(column, pa.DictionaryArray):
            size += column.dictionary_decode().nbytes - column.nbytes
    return size


# In a schema's metadata: a JSON list.
_INPUT_COLUMNS = b"millstream.input_columns"


def mark_input_columns(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """Return a table that says which of its columns are input to whoever reads it as a file.

    None says that it is no input, as its texts are left out.
    """
    metadata = table.schema.metadata or {}
    return table.replace_schema_metadata(metadata | {_INPUT_COLUMNS: json.dumps([*names])})


def select_input_columns(schema: pa.Schema) -> pa.Schema:
    """Return the columns of a schema that are input: all, unless it says which; see above.

    Raises:
        ValueError: If it says that in another form.
    """
    marked = (schema.metadata or {}).get(_INPUT_COLUMNS)
    if marked is None:
        return schema
    names = json.loads(marked)
    if not isinstance(names, list):
        raise ValueError("expected a list of columns in millstream.input_columns")
    return pa.schema([field for field in schema if field.name in names])
