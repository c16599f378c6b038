"""Rules: the author's functions over frames of rows, called so that a row at fault fails alone."""

import importlib.util
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from ..bisection import Failure, bisect_failures
from ..errors import ArtifactError
from .column_types import convert, is_null, to_python
from .spec import ColumnType

FUNCTIONS = ("before", "text", "after", "deliver")

_MOST_CHARACTERS = 200  # of a reason; it is counted in records and manifests

_import_lock = threading.Lock()

Decisions = tuple[Any, ...]


class RuleError(Exception):
    """A rule returned something else than a value a row; the message quotes none."""


class Rules:
    """The rules of a pipeline.

    Each function of the author takes a frame with a row for each row, and returns a value for each,
    in their order. If it raises, it is called on each half, down to single rows.

    Args:
        module: The author's module, with some of `FUNCTIONS`.
        file: What the author calls it, for reasons.
        decisions: The columns that `after` returns, with their types.
    """

    def __init__(self, module: ModuleType, file: str, decisions: Mapping[str, ColumnType]) -> None:
        self._functions = {name: getattr(module, name, None) for name in FUNCTIONS}
        self._file = file
        self._path = module.__file__
        self._decisions = decisions

    def has(self, name: str) -> bool:
        """Return whether the author wrote a function of this name."""
        return self._functions[name] is not None

    def reasons(self, frame: pd.DataFrame) -> list[str | Failure]:
        """Return why rows are not to be scored, as `before` has it; empty for those that are."""
        return self._call("before", frame, _read_reasons)

    def texts(self, frame: pd.DataFrame) -> list[object | Failure]:
        """Return what the model shall read of rows, as `text` has it."""
        return self._call("text", frame, _read_values)

    def decisions(self, frame: pd.DataFrame) -> list[Decisions | Failure]:
        """Return the decision columns of rows, as `after` has them."""

        def read(found: object, rows: pd.Index) -> list[Decisions]:
            return _read_decisions(found, rows, self._decisions)

        return self._call("after", frame, read)

    def deliveries(self, frame: pd.DataFrame) -> list[bool | Failure]:
        """Return which rows are to be delivered, as `deliver` has it."""
        return self._call("deliver", frame, _read_truths)

    def _call(
        self,
        name: str,
        frame: pd.DataFrame,
        read: Callable[[object, pd.Index], list[Any]],
    ) -> list[Any]:
        function: Any = self._functions[name]

        def work(places: Sequence[int]) -> list[Any]:
            if len(places) == len(frame):
                rows = frame.copy(deep=False)  # pandas copies what the author changes
            else:
                rows = frame.iloc[places[0] : places[-1] + 1].reset_index(drop=True)
            # Not `rows.index`: the author may sort or drop rows in place.
            return read(function(rows), pd.RangeIndex(len(places)))

        def describe(error: BaseException) -> str:
            return f"{self._place(error)}: {name} {_describe(error)}"

        return bisect_failures(work, range(len(frame)), describe)

    def _place(self, error: BaseException) -> str:
        """Return the line of the author's file that raised, which a message may name."""
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == self._path
        ]
        return f"{self._file}:{lines[-1]}" if lines else self._file


def _describe(error: BaseException) -> str:
    # The message of another error may quote a value of the row.
    return str(error) if isinstance(error, RuleError) else f"raised {type(error).__name__}"


def load_rules(path: Path, digest: str) -> ModuleType:
    """Import the author's module under a name unique to its code; two versions have two.

    Args:
        path: The file.
        digest: Of its content.

    Raises:
        ArtifactError: If it cannot be imported; the line of the error is named.
    """
    name = f"millstream_rules_{digest[:16]}"
    with _import_lock:
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, path)
            if spec is None or spec.loader is None:
                raise ArtifactError(f"{path}: expected a Python file")
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module  # before: a dataclass looks its module up
            try:
                spec.loader.exec_module(module)
            except (Exception, SystemExit) as error:
                del sys.modules[name]
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                raise ArtifactError(f"{path}: cannot be imported ({reason})") from error
        return sys.modules[name]


def _read_values(found: object, rows: pd.Index) -> list[object]:
    if not isinstance(found, pd.Series):
        raise RuleError(f"returned a {type(found).__name__}; expected a Series")
    if len(found) != len(rows):
        raise RuleError(f"returned {len(found)} values for {len(rows)} rows; expected one a row")
    if not found.index.equals(rows):
        found = _in_order(found, rows)
    return [None if is_null(value) else value for value in map(to_python, found.tolist())]


def _in_order(found: pd.Series, rows: pd.Index) -> pd.Series:
    """Return values that the author sorted in the order of the rows."""
    if not (found.index.is_unique and found.index.isin(rows).all()):
        raise RuleError("returned values with another index; expected that of the rows")
    return found.reindex(rows)


def _read_reasons(found: object, rows: pd.Index) -> list[str]:
    values = _read_values(found, rows)
    if kinds := {type(value).__name__ for value in values if not isinstance(value, str | None)}:
        raise RuleError(f"returned a {sorted(kinds)[0]}; expected a reason or an empty text")
    return [_one_line(str(value or "")) for value in values]


def _one_line(reason: str) -> str:
    # A reason may quote a text with half a character, which no file can hold.
    whole = reason.encode(errors="replace").decode()
    return " ".join(whole.replace("\0", " ").split())[:_MOST_CHARACTERS]


def _read_truths(found: object, rows: pd.Index) -> list[bool]:
    try:
        return [bool(convert(value, "boolean")) for value in _read_values(found, rows)]
    except ValueError as error:
        raise RuleError(f"returned another value than true or false: {error}") from error


def _read_decisions(
    found: object, rows: pd.Index, types: Mapping[str, ColumnType]
) -> list[Decisions]:
    if not isinstance(found, pd.DataFrame):
        raise RuleError(f"returned a {type(found).__name__}; expected a DataFrame")
    if set(found.columns) != set(types):
        names = sorted(map(str, found.columns))
        raise RuleError(f"returned the columns {names}; expected {sorted(types)}")
    columns = []
    for name, kind in types.items():
        try:
            columns.append([convert(value, kind) for value in _read_values(found[name], rows)])
        except (ValueError, RuleError) as error:
            raise RuleError(f"{name}: {error}") from error
    if not columns:
        return [()] * len(rows)
    return list(zip(*columns, strict=True))
