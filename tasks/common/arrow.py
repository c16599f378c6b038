"""Arrow columns as Python values, without an error for what Python cannot hold."""

import pyarrow as pa

_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


def python_values(column: pa.Array | pa.ChunkedArray) -> list[object]:
    """Return the values of a column; null is None.

    A string that is not UTF-8 gets lone surrogates; of a value that Python cannot hold, as a date
    after the year 9999, the type is returned. A float of 32 bits is the shortest decimal
    that stands for it.
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
        return value.as_py()
    except (OverflowError, ValueError):
        return value.type
