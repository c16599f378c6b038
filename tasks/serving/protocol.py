"""The bodies of requests, and what they ask for: MLflow's protocol and `/classify`.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/ describes MLflow's.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Annotated, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)
from pydantic_core import from_json

from tasks.common.errors import DataError
from tasks.common.parameter_types import about
from tasks.common.text import printable
from tasks.serving.types import AllScores, AnswerOptions, AskedRows, UseCache

TEXT = "text"

JSON = "application/json"
DEADLINE_HEADER = "x-deadline-seconds"
LEAST_DEADLINE = 0.05  # seconds

# A version reads a few.
_MOST_COLUMNS = 1_000

Cell = str | int | float | bool | None
# A list has one error: that of each value takes a kilobyte, and a body has millions of values.
_FAIL_FAST = Field(fail_fast=True)
Cells = Annotated[list[Cell], _FAIL_FAST]
Records = Annotated[list[dict[str, Cell]], _FAIL_FAST]

_EXAMPLE: list[JsonValue] = ["a gem of a film", "two hours that I will never get back"]

Columns = Annotated[
    dict[str, Cells],
    about("Other columns of the rows by name, which look-ups, rules and a split read."),
]


class Body(BaseModel):
    """A body: unknown fields are refused, and numbers are not taken for texts."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def length(self) -> int:
        """Return the number of rows that the body asks for, before anything is made of them."""
        raise NotImplementedError

    def rows(self) -> AskedRows:
        """Return the rows that the body asks for.

        Raises:
            DataError: If columns are of unequal length or too many, or there is no text.
        """
        raise NotImplementedError


class ClassifyBody(Body):
    """What `/classify` takes."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"texts": _EXAMPLE}]})

    texts: Annotated[list[str], _FAIL_FAST, about("The texts to classify.", min_length=1)]
    columns: Columns = {}
    all_scores: AllScores = False
    use_cache: UseCache = True

    def length(self) -> int:
        """Return the number of rows that the body asks for."""
        return len(self.texts)

    def rows(self) -> AskedRows:
        """Return the rows that the body asks for; see `Body.rows`."""
        options = AnswerOptions(use_cache=self.use_cache, all_scores=self.all_scores)
        return _asked(self.texts, self.columns, options)


class SplitFrame(BaseModel):
    """A frame as `DataFrame.to_dict(orient="split")` writes it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    columns: Annotated[list[str], _FAIL_FAST, about("The names of the columns.", min_length=1)]
    data: Annotated[
        list[Cells], _FAIL_FAST, about("The rows, a list of values each.", min_length=1)
    ]
    index: Annotated[Cells | None, about("Not read.")] = None

    def by_column(self) -> dict[str, list[Cell]]:
        """Return the values of each column.

        Raises:
            DataError: If a name is there twice, or a row has another number of values.
        """
        if len(set(self.columns)) < len(self.columns):
            raise DataError("dataframe_split: a column is there twice; expected names that differ")
        for row, values in enumerate(self.data):
            if len(values) != len(self.columns):
                raise DataError(
                    f"dataframe_split: row {row} has {len(values)} values; expected "
                    f"{len(self.columns)}, one for each column"
                )
        return dict(zip(self.columns, map(list, zip(*self.data, strict=True)), strict=True))


class InvocationsBody(Body):
    """What `/invocations` takes: one of the forms of MLflow's protocol, and parameters."""

    FORMS: ClassVar = ("dataframe_split", "dataframe_records", "inputs", "instances")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"dataframe_split": {"columns": [TEXT], "data": [[text] for text in _EXAMPLE]}},
                {"inputs": {TEXT: _EXAMPLE}, "params": {"use_cache": False}},
            ]
        }
    )

    dataframe_split: Annotated[SplitFrame | None, about("Columns, and rows of values.")] = None
    dataframe_records: Annotated[Records | None, about("Rows, each by column.", min_length=1)] = (
        None
    )
    inputs: Annotated[
        dict[str, Cells] | Cells | None,
        about("Columns, each with its values; or a list of texts."),
    ] = None
    instances: Annotated[
        Records | Cells | None,
        about("Rows, each by column; or a list of texts.", min_length=1),
    ] = None
    params: Annotated[AnswerOptions | None, about("How the rows are answered.")] = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [name for name in self.FORMS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"expected one of {', '.join(self.FORMS)}; got {len(given)} of them")
        return self

    def length(self) -> int:
        """Return the number of rows that the body asks for."""
        if self.dataframe_split is not None:
            return len(self.dataframe_split.data)
        if isinstance(self.inputs, dict):
            return max(map(len, self.inputs.values()), default=0)
        return len(self.dataframe_records or self.instances or self.inputs or [])

    def rows(self) -> AskedRows:
        """Return the rows that the body asks for; see `Body.rows`."""
        columns = self._columns()
        if TEXT not in columns:
            raise DataError(f"{TEXT}: this column is missing; expected it in every row")
        texts = columns.pop(TEXT)
        return _asked(texts, columns, self.params or AnswerOptions())

    def _columns(self) -> dict[str, list[Cell]]:
        if self.dataframe_split is not None:
            return self.dataframe_split.by_column()
        if isinstance(self.inputs, dict):
            return dict(self.inputs)
        rows = self.dataframe_records or self.instances or self.inputs or []
        if not any(isinstance(row, dict) for row in rows):
            return {TEXT: list(rows)}  # type: ignore[arg-type]
        return _by_column(rows)  # type: ignore[arg-type]


def _by_column(rows: Sequence[Mapping[str, Cell]]) -> dict[str, list[Cell]]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    _check_columns(len(names))
    return {name: [row.get(name) for row in rows] for name in names}


def _asked(
    texts: Sequence[object], columns: Mapping[str, Sequence[object]], options: AnswerOptions
) -> AskedRows:
    if not texts:
        raise DataError("no row; expected at least one")
    for name, values in columns.items():
        if len(values) != len(texts):
            raise DataError(
                f"columns: {printable(name)!r} has {len(values)} values; expected {len(texts)}, "
                "one for each text"
            )
    return AskedRows.model_construct(texts=texts, columns=columns, options=options)


def parse_body(kind: type[Body], content: bytes, *, max_texts: int) -> AskedRows:
    """Return the rows that a body asks for.

    Args:
        kind: What it is.
        content: Its bytes.
        max_texts: Rows at most.

    Raises:
        DataError: If it is no JSON, or not of this kind; the message quotes no value.
    """
    with suppress(ValueError):  # the next lines say what is wrong with the JSON
        _check_objects(from_json(content))
    try:
        body = kind.model_validate_json(content)
    except ValidationError as error:
        raise DataError(describe_invalid(error)) from None
    if (length := body.length()) > max_texts:
        raise DataError(f"{length} texts; expected at most {max_texts}")
    return body.rows()


def _check_objects(parsed: object) -> None:
    """Check the names of objects: pydantic has an error, of a kilobyte, for each that is wrong."""
    inner = parsed.values() if isinstance(parsed, dict) else ()
    rows = chain.from_iterable(part for part in inner if isinstance(part, list))
    for found in chain((parsed,), inner, rows):
        if isinstance(found, dict):
            _check_columns(len(found))


def _check_columns(columns: int) -> None:
    if columns > _MOST_COLUMNS:
        raise DataError(f"{columns} columns or fields; expected at most {_MOST_COLUMNS}")


def describe_invalid(error: ValidationError) -> str:
    """Return what is wrong with a body in one line, without the values that it has."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    # A misspelt name is the reason for others, such as a field that is missing.
    unknown = (one for one in found if one["type"] == "extra_forbidden")
    first = next(unknown, found[0])
    # Pydantic names the members of a union too, such as dict[str,list[...]].
    place = ".".join(str(part) for part in first["loc"] if "[" not in str(part))
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    named = f"{place}: " if place else ""
    problem = "unknown field" if first["type"] == "extra_forbidden" else first["msg"]
    problem = problem.removeprefix("Value error, ")
    return printable(" ".join(f"{named}{problem}{more}".split()))
