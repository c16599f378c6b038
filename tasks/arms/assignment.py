"""Assign rows to the arms of an A/B split by their keys, and to a sample by their texts."""

import hashlib
from typing import NamedTuple

import pyarrow as pa

from tasks.dataset.labels import label_key, label_text
from tasks.output.row_parameters import RowParameters
from tasks.output.tables import extract_texts

_HASH_RANGE = 2.0**64


class Assigned(NamedTuple):
    """The arms of some rows.

    Attributes:
        arms: The number of the arm of each row: 0 for the control, 1 for the challenger.
        without_key: Rows that were assigned by their text, because they have no key.
    """

    arms: list[int]
    without_key: int


def assign_arms(rows: pa.Table, parameters: RowParameters) -> Assigned:
    """Return the arm of each row; without a split, all rows are the control's.

    Args:
        rows: Rows without a read error, with their own columns.
        parameters: With the split and the columns of key and text.
    """
    split = parameters.traffic
    if split is None:
        return Assigned([0] * rows.num_rows, 0)
    texts = [key_of(text) for text in extract_texts(rows, parameters.text_column)]
    keys, without_key = texts, 0
    if split.key_column:
        found = [key_of(value) for value in extract_texts(rows, split.key_column)]
        keys = [key or text for key, text in zip(found, texts, strict=True)]
        without_key = found.count("")
    return Assigned([int(split.goes_to_challenger(key)) for key in keys], without_key)


def key_of(value: object) -> str:
    """Return a value as a key: its text as in a file; empty for null and what is no single value.

    Blanks around it, the Unicode form and a fraction of zeros do not count, so that a number is
    the same key in CSV, in Parquet, and in a column with nulls, which many programs write as
    fractions. Leading zeros count.
    """
    if isinstance(value, bytes):
        value = value.decode(errors="surrogateescape")
    return label_key(label_text(value) or "")


def is_sampled(text: object, share: float) -> bool:
    """Return whether the rows of a text are in the sample that shadows answer, or a server records.

    They are where the first eight bytes of the SHA-256 of `shadow`, line feed and text, as a number
    from 0 to 1, are below the share. So all versions answer the same rows, every night, and a
    larger share keeps the rows of a smaller one.
    """
    key = f"shadow\n{key_of(text)}".encode(errors="surrogatepass")
    place = int.from_bytes(hashlib.sha256(key).digest()[:8], "big")
    return place < share * _HASH_RANGE
