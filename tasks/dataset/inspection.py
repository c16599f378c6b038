"""Look at labelled data before anything is trained on it: columns, labels, lengths, languages."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tasks.common.errors import DataError
from tasks.common.parameter_types import FrozenModel
from tasks.dataset.labelled_rows import (
    LABEL_COLUMNS,
    TEXT_COLUMNS,
    RowTally,
    parsed_rows,
    read_labelled,
)
from tasks.dataset.labels import is_missing, label_text
from tasks.dataset.letters import Letters, describe_letters
from tasks.dataset.sources import fetch_tables
from tasks.dataset.splitting import describe_rows, report_rows
from tasks.dataset.types import RowReport
from tasks.ingestion.formats import Format, TextFormat, format_of, unknown_kind
from tasks.ingestion.text_format import AS_FOUND, ReadOptions, find_text_format

# A column with more different values is no column of labels.
_MOST_LABELS = 200
_INSPECTED_ROWS = 20_000
# What looks like labels in a column whose name says nothing: a few values, or many rows of each,
# and short ones. Numbers with more values are ids, dates or measurements.
_FEW_LABELS = 20
_ROWS_OF_A_LABEL = 5
_WORDS_OF_A_LABEL = 5

# Names that columns of labels have in public data sets.
_LABEL_NAMES = (
    *LABEL_COLUMNS,
    *("category", "class", "intent", "queue", "topic", "target", "rating", "stars", "score"),
)
_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)*")
_TEXT_NAMES = (
    *TEXT_COLUMNS,
    *("body", "message", "comment", "content", "description", "tweet", "sentence", "utterance"),
)


class ColumnFacts(FrozenModel):
    """What the first rows of a column are like.

    Attributes:
        name: Its name.
        filled: Rows with a value.
        distinct: Different values, `None` if there are too many for labels.
        words: Words of a value, on average.
        numeric: Whether all values are numbers.
    """

    name: str
    filled: int
    distinct: int | None
    words: float
    numeric: bool = False

    @property
    def may_be_labels(self) -> bool:
        """Whether there are as many values as labels may have."""
        return self.distinct is not None and 2 <= self.distinct <= self.filled / 2

    @property
    def looks_like_labels(self) -> bool:
        """Whether the values are such as people give to labels."""
        if not self.may_be_labels or self.distinct is None or self.words > _WORDS_OF_A_LABEL:
            return False
        if self.distinct <= _FEW_LABELS:
            return True
        return not self.numeric and self.filled >= _ROWS_OF_A_LABEL * self.distinct


class Inspection(FrozenModel):
    """What labelled data is like.

    Attributes:
        files: Its tables.
        text: How the text of the first table is read.
        separator: Of its cells; empty if it has none.
        needed: The given options, without a separator that is found by itself.
        columns: Columns of the first table.
        text_column: The column of the texts, given or found.
        label_column: The column of the labels, given or found.
        rows: What becomes of the rows when a model is trained on them.
        letters: What the texts have beyond ASCII, which a wrong encoding changes.
        warnings: What people should look at before a training.
        distributions: Rows by label and by language, and quantiles of the words of a text.
    """

    files: tuple[Path, ...]
    text: TextFormat
    separator: str
    needed: ReadOptions
    columns: tuple[ColumnFacts, ...]
    text_column: str
    label_column: str
    rows: RowReport
    letters: Letters
    warnings: tuple[str, ...]
    distributions: dict[str, Any]


def inspect_source(
    source: str,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    options: ReadOptions = AS_FOUND,
) -> Inspection:
    """Read labelled data and describe it.

    Args:
        source: As that of `fetch_tables`.
        text_column: The column of the texts; `None` finds it by its name, or takes the one with the
            longest texts.
        label_column: The column of the labels; `None` finds it by its name, or takes the last one
            that looks like labels: few different values, short, several rows of each.
        options: How the text of its files is read.

    Raises:
        ParameterError: If there is no such source.
        DownloadError: If it cannot be downloaded.
        DataError: If it cannot be read, or has no such columns.
    """
    files = fetch_tables(source, encoding=options.encoding)
    columns = tuple(_describe_columns(files[0], options))
    text = text_column or _find_text(files[0], columns)
    label = label_column or _find_label(files[0], columns, text)
    first = find_text_format(files[0], _format_of(files[0]), options)
    tally = RowTally()
    rows = read_labelled(files, text_column=text, label_column=label, tally=tally, options=options)
    letters = describe_letters(rows["text"], first.encoding or "utf-8")
    doubts = [letters.warning, "" if label_column else _guess_warning(columns, label)]
    if first.header and label in set(rows["label"]):
        doubts.append(
            f"header line: {label!r} names a column and is one of its labels, so that the first "
            "line is probably a row; --no-header reads it as one"
        )
    report = report_rows(rows, tally)
    return Inspection(
        files=files,
        text=first,
        separator=first.separator or _format_of(files[0]).separator,
        needed=_needed_options(files, options),
        columns=columns,
        text_column=text,
        label_column=label,
        rows=report,
        letters=letters,
        warnings=tuple(filter(None, [*report.warnings, *doubts])),
        distributions=describe_rows(rows),
    )


def _needed_options(files: Sequence[Path], options: ReadOptions) -> ReadOptions:
    without = options.model_copy(update={"separator": None})
    return without if all(_is_read_alike(file, options, without) for file in files) else options


def _is_read_alike(file: Path, *options: ReadOptions) -> bool:
    return len({find_text_format(file, _format_of(file), given) for given in options}) == 1


def _format_of(file: Path) -> Format:
    form = format_of(file.name)
    if form is None:
        raise DataError(f"{file}: {unknown_kind(file.name)}")
    return form


def _describe_columns(file: Path, options: ReadOptions) -> Iterator[ColumnFacts]:
    names: list[str] = []

    def choose(found: Sequence[str]) -> Sequence[str]:
        names.extend(found)
        return found

    columns: list[_Column] = []
    for row in parsed_rows(file, choose, options):
        columns = columns or [_Column() for _ in names]
        for column, value in zip(columns, row.values, strict=False):
            column.add(value)
        if row.number == _INSPECTED_ROWS:
            break
    for name, column in zip(names, columns, strict=False):
        yield column.facts(name)


class _Column:
    """Counts the values of a column."""

    def __init__(self) -> None:
        self._filled = self._words = 0
        self._distinct: set[str] = set()
        self._numeric = True

    def add(self, value: object) -> None:
        """Count a value."""
        text = label_text(value)
        if is_missing(value) or text is None:
            return
        self._filled += 1
        self._words += len(text.split())
        self._numeric = self._numeric and _NUMBER.fullmatch(text) is not None
        if len(self._distinct) <= _MOST_LABELS:
            self._distinct.add(text)

    def facts(self, name: str) -> ColumnFacts:
        """Return what was counted."""
        return ColumnFacts(
            name=name,
            filled=self._filled,
            distinct=len(self._distinct) if len(self._distinct) <= _MOST_LABELS else None,
            words=self._words / max(self._filled, 1),
            numeric=self._numeric and self._filled > 0,
        )


def _find_text(file: Path, columns: Sequence[ColumnFacts]) -> str:
    if named := _by_name(columns, _TEXT_NAMES):
        return named
    if not columns:
        raise DataError(f"{file}: no row; expected rows with a text and a label")
    return max(columns, key=lambda column: column.words).name


def _find_label(file: Path, columns: Sequence[ColumnFacts], text: str) -> str:
    others = [column for column in columns if column.name != text]
    if named := _by_name([column for column in others if column.may_be_labels], _LABEL_NAMES):
        return named
    likely = [column for column in others if column.looks_like_labels]
    if not likely:
        raise DataError(
            f"{file}: no column of labels found among its {len(columns)}; expected one with 2 to "
            f"{_MOST_LABELS} different short values, several rows of each; name it with "
            "--label-column"
        )
    return likely[-1].name


def _guess_warning(columns: Sequence[ColumnFacts], label: str) -> str:
    """Return a remark on a column of labels that was found by its place, or nothing."""
    if _by_name(columns, _LABEL_NAMES) == label:
        return ""
    numeric = any(column.numeric for column in columns if column.name == label)
    why = "it holds numbers" if numeric else "the last column with few different values"
    return f"label column: {label!r} is a guess, {why}; name another with --label-column"


def _by_name(columns: Sequence[ColumnFacts], names: Sequence[str]) -> str | None:
    found = {column.name.strip().casefold(): column.name for column in reversed(columns)}
    return next((found[name] for name in names if name in found), None)
