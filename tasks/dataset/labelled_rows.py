"""Read labelled tables, check each row, and bring them to the columns `text` and `label`."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from pyfunc.pipeline import refusal_reason
from tasks.common.errors import DataError
from tasks.common.text import columns_called
from tasks.dataset.labels import KnownLabels, is_missing, label_text, unify_labels
from tasks.ingestion.column_checks import check_sole
from tasks.ingestion.formats import Row, RowWarnings
from tasks.ingestion.likely_causes import describe_refused_row, header_hint, separator_hint
from tasks.ingestion.table_reader import read_columns
from tasks.ingestion.text_format import AS_FOUND, ReadOptions

logger = logging.getLogger(__name__)

# Tried in this order when no column is named; the second pair is the original project's.
TEXT_COLUMNS = ("text", "review")
LABEL_COLUMNS = ("label", "sentiment")

# Labels become names in configurations, reports, metrics and logs, so a column of texts that is
# named by mistake must not. Data sets of intents, the widest in use, have some hundred labels.
_MOST_LABELS = 1000
_FEW_LABELS = 20  # so many may have a row each, as in a first try
_LONGEST_LABEL = 100  # characters


class RowTally:
    """Counts the rows of labelled tables while they are read.

    Attributes:
        read: All rows.
        set_aside: Those that are left out, by reason.
        warnings: Lines on rows that look wrong and are kept all the same.
        unlabelled: Texts of rows without a label; None if such a row is an error.
    """

    def __init__(self, *, keep_unlabelled: bool = False) -> None:
        self.unlabelled: list[str] | None = [] if keep_unlabelled else None
        self.read = 0
        self.set_aside: Counter[str] = Counter()
        self.warnings: list[str] = []


def read_labelled(
    files: Sequence[Path],
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    label_names: Sequence[str] = (),
    tally: RowTally | None = None,
    options: ReadOptions = AS_FOUND,
) -> pd.DataFrame:
    """Read labelled rows of all `files`, in order, as the string columns `text` and `label`.

    A row is left out and logged if the pipeline would refuse its text, such as one of invisible
    characters alone.

    Args:
        files: CSV, TSV, JSON or Parquet tables, plain or with .gz or .zst.
        text_column: Column of the texts; `None` takes `text` or `review`. Case and outer blanks of
            a column's name do not count.
        label_column: Column of the labels; `None` takes `label` or `sentiment`.
        label_names: The labels that are allowed, in order. A file may hold the names or
            their positions, as `KnownLabels` finds them. Empty allows any; the texts of one
            label, as 1 and 1.0, get one name.
        tally: Counts what becomes of the rows. Those with neither text nor label are set aside,
            and those whose text the pipeline would refuse, such as one of invisible characters.
        options: How the text of the files is read.

    Raises:
        DataError: If a file cannot be read, lacks a column, has an empty text or label or one
            that is not allowed, if all rows have the same label, or if the labels that are not
            named look like texts. Rows count from 1.
    """
    names, tally = tuple(label_names), tally or RowTally()
    tables = [
        _labelled_rows(file, (text_column, label_column), names, tally, options) for file in files
    ]
    rows = pd.concat(tables, ignore_index=True)
    if not label_names:
        rows["label"] = rows["label"].map(unify_labels(rows["label"]))
    if rows.empty:
        raise DataError(f"{_list_files(files)}: no row; expected rows with two labels or more")
    if rows["label"].nunique() < 2:
        raise DataError(
            f"{_list_files(files)}: rows 1 to {len(rows)}: all have one label; "
            "expected two labels or more"
        )
    if not label_names:
        _check_labels(files, rows["label"])
    return rows


def _check_labels(files: Sequence[Path], labels: "pd.Series[str]") -> None:
    distinct, longest = labels.nunique(), int(labels.str.len().max())
    if distinct > _MOST_LABELS or (distinct > _FEW_LABELS and 2 * distinct > len(labels)):
        found = f"{distinct} different labels in {len(labels)} rows"
        expected = f"at most {_MOST_LABELS}, and two rows of each on average"
    elif longest > _LONGEST_LABEL:
        found, expected = f"a label of {longest} characters", f"at most {_LONGEST_LABEL}"
    else:
        return
    raise DataError(
        f"{_list_files(files)}: label_column: {found}; "
        f"expected {expected}, or their names in --label-names"
    )


class _Labelled(NamedTuple):
    number: int
    text: object
    label: object


def _labelled_rows(
    file: Path,
    columns: tuple[str | None, str | None],
    label_names: tuple[str, ...],
    tally: RowTally,
    options: ReadOptions,
) -> pd.DataFrame:
    def choose(names: Sequence[str]) -> tuple[str, str]:
        return (
            _find_column(file, names, "text_column", columns[0], TEXT_COLUMNS),
            _find_column(file, names, "label_column", columns[1], LABEL_COLUMNS),
        )

    rows = list(_kept_rows(file, parsed_rows(file, choose, options), tally))
    _check_texts(file, rows)
    labels = _resolve_labels(file, rows, label_names)
    return pd.DataFrame({"text": [row.text for row in rows], "label": labels}, dtype=str)


def _kept_rows(file: Path, rows: Iterable[Row], tally: RowTally) -> Iterator[_Labelled]:
    warnings, refused = RowWarnings(), list[tuple[int, str]]()
    for row in rows:
        tally.read += 1
        text, label = row.values
        # Spreadsheets leave such rows at the end of a table.
        if is_missing(text) and is_missing(label):
            tally.set_aside["neither text nor label"] += 1
            continue
        if reason := _refusal(text):
            refused.append((row.number, reason))
            continue
        warnings.add(row.number, row.line, row.warning)
        if tally.unlabelled is not None and is_missing(label) and _is_usable(text):
            tally.unlabelled.append(str(text))
            continue
        yield _Labelled(row.number, text, label)
    if refused:
        number, reason = refused[0]
        logger.warning(
            "%s: %d rows are set aside, the first is row %d: the text is %s",
            *(file, len(refused), number, reason),
        )
        tally.set_aside.update(reason for _, reason in refused)
    for warning in warnings.messages(file):
        logger.warning("%s", warning)
        tally.warnings.append(warning)


def _refusal(text: object) -> str:
    """Return why the pipeline would refuse a text, an empty string if it would not.

    A text that is missing, blank or not UTF-8 is an error of the table instead.
    """
    return refusal_reason(text) if _is_usable(text) else ""


def _is_usable(text: object) -> bool:
    return isinstance(text, str) and bool(text.strip()) and _is_utf8(text)


def parsed_rows(
    file: Path, choose: Callable[[Sequence[str]], Sequence[str]], options: ReadOptions
) -> Iterator[Row]:
    """Yield the rows of a table, as `read_columns` does.

    Raises:
        DataError: If the file or a row of it cannot be read.
    """
    try:
        for row in read_columns(file, choose, options):
            if row.reason:
                line = f" (line {row.line})" if row.line else ""
                why = describe_refused_row(row.raw or b"", row.reason)
                if " cells; expected" in row.reason:
                    why += separator_hint(file, options)
                raise DataError(f"{file}: row {row.number}{line}: {why}")
            yield row
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); expected a table") from error


def _find_column(
    file: Path, names: Sequence[str], parameter: str, name: str | None, usual: Sequence[str]
) -> str:
    wanted = [name] if name else usual
    for column in wanted:
        if found := columns_called(names, column):
            check_sole(file, column, found)
            return found[0]
    # The names stay unsaid: without a header line they are the first row's text.
    raise DataError(
        f"{file}: no column {' or '.join(map(repr, wanted))} among its {len(names)}; "
        f"name one with --{parameter.replace('_', '-')}{header_hint(file, names)}"
    )


def _check_texts(file: Path, rows: Sequence[_Labelled]) -> None:
    for row, text, _ in rows:
        if not isinstance(text, str) or not text.strip():
            found = "empty" if isinstance(text, str) else _kind(text)
            raise DataError(f"{file}: row {row}: the text is {found}; expected a text with words")
        if not _is_utf8(text):
            raise DataError(f"{file}: row {row}: the text is not UTF-8; expected UTF-8")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _resolve_labels(file: Path, rows: Sequence[_Labelled], names: tuple[str, ...]) -> list[str]:
    known = KnownLabels(names)
    expected = f"one of {list(names)}" if names else "one label a row"
    named = []
    for row, _, label in rows:
        text = label_text(label)
        if text and not _is_utf8(text):
            raise DataError(f"{file}: row {row}: the label is not UTF-8; expected UTF-8")
        name = known.find(label) if names else text
        if not text or name is None:
            found = _kind(label) if text is None else "unknown" if text else "empty"
            raise DataError(f"{file}: row {row}: the label is {found}; expected {expected}")
        named.append(name)
    return named


def _kind(value: object) -> str:
    return "null" if value is None or value != value else f"of the type {type(value).__name__}"


def _list_files(files: Sequence[Path]) -> str:
    return ", ".join(str(file) for file in files)
