"""Checks of the columns of a table; only names that the run gives are quoted."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from tasks.common.errors import DataError
from tasks.common.text import columns_called
from tasks.ingestion.likely_causes import header_hint


def check_distinct(path: Path, names: Sequence[str]) -> None:
    """Raise a DataError if two columns have one name."""
    counts = Counter(names)
    twice = [n for n, name in enumerate(names, start=1) if counts[name] > 1]
    if twice:
        # Numbers, not names: without a header line the names are the first row's text.
        raise DataError(f"{path}: the columns {twice} share a name; expected different names")


def check_required(path: Path, names: Sequence[str], required: Collection[str]) -> None:
    """Raise a DataError if a column is missing, or several could be meant; see `columns_called`."""
    for name in sorted(required):
        found = columns_called(names, name)
        if not found:
            # The others stay unsaid, for the same reason.
            raise DataError(
                f"{path}: no column {name!r} among its {len(names)}; "
                f"expected a column of that name{header_hint(path, names)}"
            )
        check_sole(path, name, found)


def check_declared(path: Path, names: Sequence[str], declared: Mapping[str, str]) -> None:
    """Raise a DataError if a column is missing that a version reads; it is found by its exact name.

    A served model gets no other: MLflow drops a column that its signature has not.

    Args:
        path: The file.
        names: Its columns.
        declared: The columns that versions read, each with the version.
    """
    for name, version in declared.items():
        if name in names:
            continue
        similar = columns_called(names, name)
        what = (
            f"the column {similar[0]!r} is not {name!r}"
            if similar
            else (f"no column {name!r} among its {len(names)}")
        )
        raise DataError(f"{path}: {what}, which {version} reads; expected a column of that name")


def check_sole(path: Path, name: str, found: Sequence[str]) -> None:
    """Raise a DataError if a name means several columns."""
    if len(found) > 1:
        raise DataError(
            f"{path}: the columns {found} are all called {name!r} but for case and blanks; "
            "expected the exact name of one"
        )


def check_reserved(path: Path, names: Sequence[str], reserved: Collection[str]) -> None:
    """Raise a DataError if a column has a name that the output needs."""
    found = sorted(set(names) & set(reserved))
    if found:
        raise DataError(f"{path}: the columns {found} are reserved; expected other names")
