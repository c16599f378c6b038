"""`business/` of an artifact: the look-ups and rules of a pipeline, and their digest."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, get_args

from ..errors import ArtifactError
from ..spec import business_folder

FILE_NAME = "business.json"
RULES_FILE = "rules.py"

ColumnType = Literal["string", "integer", "number", "boolean", "timestamp", "date"]
COLUMN_TYPES: tuple[ColumnType, ...] = get_args(ColumnType)

# Of a key: PostgreSQL writes a UUID in one way, and rows write it in several.
KeyType = Literal[ColumnType, "uuid"]

OnMissing = Literal["null", "reject"]

# What says whether a row is to be delivered; `after` has no such decision.
DELIVER = "deliver"

# When the look-ups of a row began.
LOOKED_UP_AT = "looked_up_at"

# What rules call the parts of a prediction, as an output does.
PREDICTION_NAMES = (
    "prediction_label",
    "prediction_score",
    "language_detected",
    "language_reliable",
    "truncated",
    "prediction_decided_by",
)

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class LookupSpec:
    """A look-up: rows of a database or file, found by a key column of the input.

    Attributes:
        name: What its columns are called by: `customer.tier` in rules, `lookup_customer_tier` in
            the output.
        source: The name of the database or file; its address is no part of a model.
        key: The input column with the keys.
        query: A SELECT with `in :keys`; its first column is the key.
        key_type: The type of that column.
        columns: The other columns of the query, with their types.
        missing: Whether a row whose key is not found, or is null, gets nulls or is rejected.
        on_error: The same for a row whose look-up failed.
        timeout_ms: Of the query; it is retried once.
    """

    name: str
    source: str
    key: str
    query: str
    key_type: KeyType
    columns: Mapping[str, ColumnType]
    missing: OnMissing = "null"
    on_error: OnMissing = "null"
    timeout_ms: int = 1_000

    def frame_column(self, column: str) -> str:
        """Return what rules call a column."""
        return f"{self.name}.{column}"

    def output_column(self, column: str) -> str:
        """Return what the output calls it."""
        return f"lookup_{self.name}_{column}"


@dataclass(frozen=True, slots=True)
class BusinessSpec:
    """The business logic of a pipeline.

    Attributes:
        lookups: The look-ups.
        columns: Input columns that rules read, besides the text and the keys.
        rules_file: What the author calls the file with the rules, for errors; empty without rules.
        decisions: The columns that `after` returns, with their types.
        delivers: Whether a rule says which rows are to be delivered.
    """

    lookups: tuple[LookupSpec, ...] = ()
    columns: tuple[str, ...] = ()
    rules_file: str = ""
    decisions: Mapping[str, ColumnType] = field(default_factory=dict)
    delivers: bool = False

    @property
    def added_columns(self) -> dict[str, ColumnType]:
        """The columns that an output gets, in their order, with their types."""
        columns = {
            lookup.output_column(name): kind
            for lookup in self.lookups
            for name, kind in lookup.columns.items()
        }
        columns |= {decision_column(name): kind for name, kind in self.decisions.items()}
        if self.delivers:
            columns[decision_column(DELIVER)] = "boolean"
        if self.lookups:
            columns[LOOKED_UP_AT] = "timestamp"
        return columns

    @property
    def input_columns(self) -> tuple[str, ...]:
        """The input columns besides the text: keys, and what rules read."""
        return tuple(dict.fromkeys([*(lookup.key for lookup in self.lookups), *self.columns]))

    def write(self, artifact: Path, rules: str) -> None:
        """Write `business/` into an artifact.

        Args:
            artifact: Its folder.
            rules: The code of the rules; empty without rules.
        """
        folder = business_folder(artifact)
        folder.mkdir()
        text = json.dumps(asdict(self), indent=2) + "\n"
        (folder / FILE_NAME).write_text(text, encoding="utf-8")
        if self.rules_file:
            (folder / RULES_FILE).write_text(rules, encoding="utf-8")

    @classmethod
    def read(cls, artifact: Path) -> Self:
        """Read `business/` of an artifact.

        Raises:
            ArtifactError: If a file is missing or invalid.
        """
        path = business_folder(artifact) / FILE_NAME
        try:
            return cls.of(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ArtifactError(f"{path}: expected look-ups and rules ({error})") from error

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return the business logic that `dataclasses.asdict` made values of.

        Raises:
            ValueError, TypeError, KeyError: If the values are others.
        """
        lookups = tuple(_lookup(lookup) for lookup in values["lookups"])
        fields = {**values, "lookups": lookups, "columns": tuple(values["columns"])}
        return cls(**fields)._checked()

    def _checked(self) -> Self:
        for name, kind in self.decisions.items():
            _check_column(f"decisions.{name}", kind)
        return self


def is_name(name: object) -> bool:
    """Return whether a look-up, a source or a decision may be called so."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def decision_column(name: str) -> str:
    """Return what the output calls a decision."""
    return f"decision_{name}"


# Of an output, where a rule says which rows are to be delivered.
DELIVER_COLUMN = decision_column(DELIVER)


def digest_business(artifact: Path) -> str:
    """Return the SHA-256 of the look-ups and rules of an artifact; empty if it has none."""
    folder = business_folder(artifact)
    if not folder.exists():
        return ""
    digest = hashlib.sha256()
    for name in (FILE_NAME, RULES_FILE):
        path = folder / name
        if path.exists():
            digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _lookup(values: Mapping[str, Any]) -> LookupSpec:
    lookup = LookupSpec(**values)
    for part in ("name", "source"):
        if not is_name(getattr(lookup, part)):
            raise ValueError(f"{part}: {getattr(lookup, part)!r}")
    if lookup.key_type not in get_args(KeyType):
        raise ValueError(f"{lookup.name}.key_type: {lookup.key_type!r}")
    for name, kind in lookup.columns.items():
        _check_column(f"{lookup.name}.{name}", kind)
    for part in ("missing", "on_error"):
        if getattr(lookup, part) not in get_args(OnMissing):
            raise ValueError(f"{lookup.name}.{part}: {getattr(lookup, part)!r}")
    if type(lookup.timeout_ms) is not int or lookup.timeout_ms < 1:
        raise ValueError(f"{lookup.name}.timeout_ms: {lookup.timeout_ms!r}")
    return lookup


def _check_column(name: str, kind: object) -> None:
    if kind not in COLUMN_TYPES:
        raise ValueError(f"{name}: {kind!r}")
