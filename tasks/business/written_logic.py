"""Look-ups and rules in a composition file, as they are written."""

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from pyfunc.business.spec import DELIVER, PREDICTION_NAMES, ColumnType, OnMissing
from tasks.common.parameter_types import FrozenModel

MAX_LOOKUPS = 16

# What the frame of a rule has anyway.
_OF_ANSWERS = ("text", *PREDICTION_NAMES)

MAX_TIMEOUT_MS = 60_000

_BARE_KEYS = re.compile(r"\bin\s+:keys\b", re.IGNORECASE)
_PARAMETER = re.compile(r"(?<![:\w\\]):(?!keys\b)(\w+)(?!:)")  # as SQLAlchemy finds them
_NEGATED = re.compile(r"\bnot\s+in\s+:keys\b", re.IGNORECASE)
_IN_PARENTHESES = re.compile(r"\(\s*:keys\s*\)")
_SELECT = re.compile(r"\s*(select|with)\b", re.IGNORECASE)

Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
_Column = Annotated[str, StringConstraints(min_length=1)]


class LookupChoice(FrozenModel):
    """A look-up in a composition file.

    Attributes:
        name: What its columns are called by.
        source: The name of the database or file.
        key: The input column with the keys.
        query: A SELECT with `in :keys`, whose first column is the key.
        columns: Types of columns, in place of those that the source reports.
        missing: Whether a row whose key is not found, or is null, gets nulls or is rejected.
        on_error: The same for a row whose look-up failed; as `missing` if it is not given.
        timeout_ms: Of the query.
    """

    name: Identifier
    source: Identifier
    key: _Column
    query: str
    columns: dict[str, ColumnType] = Field(default={})
    missing: OnMissing = "null"
    on_error: OnMissing | Literal[""] = ""
    timeout_ms: Annotated[int, Field(ge=1, le=MAX_TIMEOUT_MS, strict=True)] = 1_000

    @field_validator("missing", "on_error", mode="before")
    @classmethod
    def _take_null(cls, value: Any) -> Any:
        # YAML has a word for it.
        return "null" if value is None else value

    @field_validator("query")
    @classmethod
    def _check_query(cls, query: str) -> str:
        query = query.strip().removesuffix(";").rstrip()
        if not _SELECT.match(query):
            raise ValueError("no SELECT; expected select key, column from table ...")
        if _IN_PARENTHESES.search(query):
            raise ValueError("(:keys); expected :keys without parentheses")
        if other := _PARAMETER.search(query):
            raise ValueError(f"{other[0]}; expected no parameter but :keys, and \\: for a colon")
        if _NEGATED.search(query):
            raise ValueError("not in :keys; expected id in :keys, the rows of the keys")
        if not _BARE_KEYS.search(query):
            raise ValueError("no keys; expected a condition such as id in :keys")
        return query

    @property
    def when_failed(self) -> OnMissing:
        """What a row gets whose look-up failed."""
        return self.on_error or self.missing


class BusinessLogicFile(FrozenModel):
    """The part of a composition file on business logic.

    Attributes:
        lookups: The look-ups.
        rules: The path of the rules, from the folder of the composition file; empty without rules.
        columns: Input columns that rules read, besides the text and the keys.
        decisions: Types of the columns that `after` returns, in place of those that it has for
            rows without look-ups.
    """

    lookups: Annotated[tuple[LookupChoice, ...], Field(max_length=MAX_LOOKUPS)] = ()
    rules: str = ""
    columns: tuple[_Column, ...] = ()
    decisions: dict[Identifier, ColumnType] = Field(default={})

    @property
    def has_logic(self) -> bool:
        """Whether there is a look-up or a rule."""
        return bool(self.lookups or self.rules)

    @model_validator(mode="after")
    def _check_logic(self) -> Self:  # another name than those of the file's other checks
        _refuse_repeated("lookups", [lookup.name for lookup in self.lookups])
        _refuse_repeated("columns", self.columns)
        for place, name in self._input_columns():
            if name in _OF_ANSWERS:
                raise ValueError(f"{place}: {name!r}; expected another column, rules have that one")
            if "." in name and any(name.startswith(f"{one.name}.") for one in self.lookups):
                raise ValueError(f"{place}: {name!r}; expected a name without that of a look-up")
        if DELIVER in self.decisions:
            raise ValueError(f"decisions.{DELIVER}: expected another name, a rule is called so")
        if not self.rules:
            for field in ("columns", "decisions"):
                if getattr(self, field):
                    raise ValueError(f"{field}: there are no rules; expected rules with them")
        return self

    def _input_columns(self) -> Iterable[tuple[str, str]]:
        for lookup in self.lookups:
            yield f"lookups.{lookup.name}.key", lookup.key
        for name in self.columns:
            yield "columns", name


def _refuse_repeated(place: str, names: Sequence[str]) -> None:
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ValueError(f"{place}: {name!r} twice; expected names that differ")
