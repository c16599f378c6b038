"""Run rules on example rows when a pipeline is planned: they fail early, and show their types."""

import ast
import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pyarrow as pa

from pyfunc.bisection import Failure
from pyfunc.business.column_types import ARROW_TYPES, to_pandas, type_of
from pyfunc.business.frames import build_frame, with_predictions
from pyfunc.business.rules import FUNCTIONS, Rules, load_rules
from pyfunc.business.spec import DELIVER, BusinessSpec, ColumnType, decision_column, is_name
from pyfunc.contract import Answer, Language, Prediction, Provenance
from pyfunc.errors import ArtifactError
from tasks.business.types import PossibleAnswers
from tasks.common.errors import ParameterError

logger = logging.getLogger(__name__)

_MAX_BYTES = 256 * 1024

_LANGUAGE = Language("en", reliable=True, probability=0.99)
_SCORES = (0.99, 0.5)


def read_rules(path: Path) -> str:
    """Return the code of rules.

    Raises:
        ParameterError: If the file is missing, too large, no Python, or has none of the functions.
    """
    code = _read_file(path)
    try:
        parsed = ast.parse(code, str(path))
    except SyntaxError as error:
        raise ParameterError(f"{path}:{error.lineno or 1}: {error.msg}; expected Python") from error
    except (ValueError, RecursionError, MemoryError) as error:
        reason = str(error) or "too many levels"
        raise ParameterError(f"{path}: {reason}; expected Python") from error
    functions = [node for node in parsed.body if isinstance(node, ast.FunctionDef)]
    rules = [node for node in functions if node.name in FUNCTIONS]
    if not rules:
        names = ", ".join(FUNCTIONS)
        raise ParameterError(f"{path}: no rule; expected one of the functions {names}")
    for node in rules:
        if (given := len(node.args.posonlyargs + node.args.args)) != 1:
            raise ParameterError(
                f"{path}:{node.lineno}: {node.name} has {given} arguments; expected one, the rows"
            )
    return code


def _read_file(path: Path) -> str:
    try:
        if not (path.is_file() or path.is_dir()) and path.exists():  # a pipe would be waited for
            raise ParameterError(f"{path}: no regular file; expected rules in Python")
        if path.stat().st_size > _MAX_BYTES:
            raise ParameterError(
                f"{path}: larger than {_MAX_BYTES} bytes; expected rules in Python"
            )
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = error.strerror or error
        raise ParameterError(f"rules: {path}: {reason}; expected a Python file") from error
    except ValueError as error:
        raise ParameterError(f"{path}: {error}; expected Python in UTF-8") from error


def probe_rules(
    spec: BusinessSpec,
    path: Path,
    digest: str,
    answers: PossibleAnswers,
    declared: Mapping[str, ColumnType],
) -> BusinessSpec:
    """Run rules on examples of each label, whose other columns and look-ups are null.

    Args:
        spec: The look-ups and input columns.
        path: The rules, as `read_rules` takes them.
        digest: Of the file.
        answers: Those of the pipeline.
        declared: Types of decisions, in place of those that the examples show.

    Returns:
        The spec with the rules: the decisions of `after` with their types.

    Raises:
        ParameterError: If the rules cannot be imported, read a column that is not there, or return
            something else than a value a row.
    """
    try:
        module = load_rules(path, digest)
    except ArtifactError as error:
        raise ParameterError(str(error)) from error
    for name in FUNCTIONS:
        rule = getattr(module, name, None)
        if rule is not None and not callable(rule):
            kind = type(rule).__name__
            raise ParameterError(
                f"{path}: {name} is a {kind}; expected a function, or another name"
            )
    examples = _example_answers(answers)
    frame = _example_frame(spec, len(examples))
    answered = with_predictions(frame, examples)
    types = _decision_types(module, path, answered, declared)
    rules = Rules(module, path.name, types)
    nulls = {decision_column(name): kind for name, kind in types.items()}
    decided = answered.assign(**{name: _nulls(kind, len(frame)) for name, kind in nulls.items()})
    calls: list[tuple[str, Callable[[pd.DataFrame], list[Any]], pd.DataFrame]] = [
        ("before", rules.reasons, frame),
        ("text", rules.texts, frame),
        ("after", rules.decisions, answered),
        ("deliver", rules.deliveries, decided),
    ]
    for name, call, rows in calls:
        if rules.has(name):
            _check_columns(getattr(module, name), rows, path)
            _check_results(call(rows), path)
    return replace(spec, rules_file=path.name, decisions=types, delivers=rules.has("deliver"))


def _example_frame(spec: BusinessSpec, rows: int) -> pd.DataFrame:
    looked_up = {
        lookup.name: {
            name: pa.nulls(rows, ARROW_TYPES[kind]) for name, kind in lookup.columns.items()
        }
        for lookup in spec.lookups
    }
    columns = {name: [None] * rows for name in spec.input_columns}
    return build_frame(spec, ["an example"] * rows, columns, looked_up)


def _example_answers(answers: PossibleAnswers) -> list[Answer]:
    deciders = cycle(answers.deciders or [""])
    return [
        Answer(
            Prediction(label, score, truncated=False), _LANGUAGE, Provenance("", ""), next(deciders)
        )
        for label in answers.labels
        for score in _SCORES
    ]


def _nulls(kind: ColumnType, rows: int) -> pd.Series:
    return to_pandas(pa.nulls(rows, ARROW_TYPES[kind]))


def _decision_types(
    module: ModuleType, path: Path, frame: pd.DataFrame, declared: Mapping[str, ColumnType]
) -> dict[str, ColumnType]:
    after = getattr(module, "after", None)
    if after is None:
        if declared:
            raise ParameterError(f"decisions: {path} has no after; expected one that returns them")
        return {}
    found = _check_columns(after, frame, path)
    if not isinstance(found, pd.DataFrame):
        if found is None and declared:
            return dict(declared)
        what = "fails on them" if found is None else f"returns a {type(found).__name__}"
        raise ParameterError(
            f"{path}: after {what} for examples whose look-ups are null; expected a DataFrame, or "
            "decisions in the composition file"
        )
    names = list(found.columns)
    if others := [name for name in names if not is_name(name)]:
        raise ParameterError(
            f"{path}: after returns the columns {others}; expected names of a letter, then "
            "letters, digits or _, in lower case"
        )
    if unknown := sorted(set(declared) - set(names)):
        raise ParameterError(f"decisions: {unknown}; expected columns that after returns: {names}")
    if DELIVER in names or len(set(names)) < len(names):
        raise ParameterError(
            f"{path}: after returns the columns {names}; expected each once, and none {DELIVER!r}"
        )
    return {name: declared.get(name) or type_of(found[name]) for name in names}


def _check_columns(function: Callable[[pd.DataFrame], Any], frame: pd.DataFrame, path: Path) -> Any:
    """Return what a rule returns, or None if it raises; not of a column that is not there."""
    try:
        return function(frame.copy())
    except SystemExit as error:
        raise ParameterError(
            f"{path}: {function.__name__} ends the program; expected a value a row"
        ) from error
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [found.lineno for found in frames if found.filename == str(path)]
        is_own = frames[-1].filename == str(path)  # as of a dictionary of the author's
        if is_own or not lines or (missing := _missing_column(error)) is None:
            return None
        raise ParameterError(
            f"{path}:{lines[-1]}: the column {missing!r} is not there; expected one of "
            f"{list(frame.columns)}"
        ) from error


def _missing_column(error: Any) -> object:
    """Return what a frame was asked for that it does not have: `rows["tier"]`, `rows.tier`."""
    if isinstance(error, KeyError):
        return error.args[0] if error.args else None
    of_frame = isinstance(error, AttributeError) and isinstance(error.obj, pd.DataFrame)
    return error.name if of_frame else None


def _check_results(found: Sequence[Any], path: Path) -> None:
    failures = [one.error for one in found if isinstance(one, Failure)]
    if not failures:
        return
    if " returned " in failures[0]:
        raise ParameterError(f"{path.parent / failures[0]}")
    logger.warning(
        "%s for examples whose look-ups and columns are null; such rows will be refused",
        failures[0],
    )
