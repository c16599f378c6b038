"""Labelled tables: read, checked row by row, brought to the columns `text` and `label`."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tasks.errors import DataError

# Tried in this order when no column is named; the second pair is the original project's.
TEXT_COLUMNS = ("text", "review")
LABEL_COLUMNS = ("label", "sentiment")


def read_labelled(
    files: Sequence[Path],
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    label_names: Sequence[str] = (),
) -> pd.DataFrame:
    """Read labelled rows of all `files`, in order, as the string columns `text` and `label`.

    Args:
        files: CSV, TSV, JSONL or Parquet tables.
        text_column: Column of the texts; `None` takes `text` or `review`.
        label_column: Column of the labels; `None` takes `label` or `sentiment`.
        label_names: The labels that are allowed, in order. A file may hold the names or
            their positions, counted from 0. Empty allows any.

    Raises:
        DataError: If a file cannot be read, lacks a column, has an empty text or label or one
            that is not allowed, or if all rows have the same label. Rows count from 1.
    """
    tables = [_labelled_rows(file, text_column, label_column, tuple(label_names)) for file in files]
    rows = pd.concat(tables, ignore_index=True)
    if rows["label"].nunique() < 2:
        value = f"the label {rows['label'].iloc[0]!r}" if len(rows) else "no row"
        raise DataError(
            f"{_names(files)}: rows 1 to {len(rows)} have {value} only; expected two labels or more"
        )
    return rows


def labels_in_order(rows: pd.DataFrame, label_names: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the labels in the order of their ids: as named, else sorted, numbers by value."""
    if label_names:
        return tuple(label_names)
    labels = set(rows["label"])
    if all(label.isdecimal() for label in labels):
        return tuple(sorted(labels, key=int))
    return tuple(sorted(labels))


def _labelled_rows(
    file: Path, text_column: str | None, label_column: str | None, label_names: tuple[str, ...]
) -> pd.DataFrame:
    table = _read_table(file)
    texts = table[_column(file, table, "text_column", text_column, TEXT_COLUMNS)]
    labels = table[_column(file, table, "label_column", label_column, LABEL_COLUMNS)]
    _check_texts(file, texts)
    return pd.DataFrame(
        {"text": texts.astype(str), "label": _named_labels(file, labels, label_names)}, dtype=str
    )


def _read_table(file: Path) -> pd.DataFrame:
    try:
        match file.suffix.lower():
            case ".csv" | ".tsv":
                separator = "\t" if file.suffix.lower() == ".tsv" else ","
                # Every cell is text as it stands: "NA", "None" and "007" keep their meaning.
                return pd.read_csv(file, sep=separator, dtype=str, na_filter=False)
            case ".jsonl":
                return pd.read_json(file, lines=True, dtype=False)
            case _:
                return pd.read_parquet(file)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{file}: expected a {file.suffix[1:].upper()} table ({reason})") from error


def _column(
    file: Path, table: pd.DataFrame, parameter: str, name: str | None, usual: Sequence[str]
) -> str:
    wanted = [name] if name else usual
    for column in wanted:
        if column in table.columns:
            return column
    raise DataError(
        f"{file}: no column {' or '.join(map(repr, wanted))} among {list(table.columns)}; "
        f"name one with {parameter}"
    )


def _check_texts(file: Path, texts: pd.Series) -> None:
    for row, text in enumerate(texts, start=1):
        if not isinstance(text, str) or not text.strip():
            found = repr(text.strip()) if isinstance(text, str) else type(text).__name__
            raise DataError(f"{file}: row {row}: the text is {found}; expected a text with words")


def _named_labels(file: Path, labels: pd.Series, names: tuple[str, ...]) -> list[str]:
    positions = {str(position): name for position, name in enumerate(names)}
    known = positions | {name: name for name in names}
    expected = f"one of {list(names)}" if names else "a label"
    named = []
    for row, label in enumerate(labels, start=1):
        value = "" if pd.isna(label) else str(label).strip()
        if not value or (names and value not in known):
            raise DataError(f"{file}: row {row}: the label is {value!r}; expected {expected}")
        named.append(known.get(value, value))
    return named


def _names(files: Sequence[Path]) -> str:
    return ", ".join(str(file) for file in files)
