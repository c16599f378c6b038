"""Answered requests as rows: in the columns that staging has, with those of the request."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import pyarrow as pa

from pyfunc.business.column_types import is_null, to_python, to_schema
from pyfunc.contract import Outcome
from tasks.arms.types import ScoringModel
from tasks.common.text import sha256_of_text
from tasks.ingestion.column_types import JsonTypeInference, cast_values, to_json
from tasks.ingestion.table_reader import PLACE
from tasks.output.records import ANSWERED_COLUMN, DIGEST_COLUMN, RESERVED_COLUMNS

TEXT = "text"

# What no column of a request may be called.
RECORDED_COLUMNS = frozenset({*RESERVED_COLUMNS, TEXT, DIGEST_COLUMN, ANSWERED_COLUMN})


_TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True)
class AnsweredRequest:
    """A request that was answered.

    Attributes:
        texts: Its texts, of any type.
        outcomes: One a text.
        model: The version that answered.
        when: When, with a time zone.
        columns: Its other columns, with a value a text.
        added: What look-ups and rules added, with a row a text; None without.
    """

    texts: Sequence[object]
    outcomes: Sequence[Outcome]
    model: ScoringModel
    when: datetime
    columns: Mapping[str, Sequence[object]] = field(default_factory=dict)
    added: pa.Table | None = None

    def select(self, places: Sequence[int]) -> "AnsweredRequest":
        """Return the request with some of its texts alone, counted from 0."""
        if len(places) == len(self.texts):
            return self
        return AnsweredRequest(
            texts=[self.texts[place] for place in places],
            outcomes=[self.outcomes[place] for place in places],
            model=self.model,
            when=self.when,
            columns={name: [values[p] for p in places] for name, values in self.columns.items()},
            added=None if self.added is None else self.added.take(pa.array(places, pa.int64())),
        )


def digest_of(text: object) -> str | None:
    """Return the SHA-256 of a text; None of what is no text."""
    return sha256_of_text(text) if isinstance(text, str) else None


def stage_requests(
    requests: Sequence[AnsweredRequest], business: Sequence[str], *, with_text: bool
) -> pa.Table:
    """Return the rows of requests as staging has them: own columns, and those of `PLACE`."""
    texts = [text for request in requests for text in request.texts]
    times = [request.when.astimezone(UTC) for request in requests for _ in request.texts]
    names = dict.fromkeys(chain(business, *(request.columns for request in requests)))
    # What a column of texts cannot hold is in `raw`, as of a line that is not UTF-8.
    shown = [text if with_text and _is_storable(text) else None for text in texts]
    raw = [_to_bytes(text) if with_text and not _is_storable(text) else None for text in texts]
    columns = {
        TEXT: pa.array(shown, pa.string()),
        **{name: _to_column(list(_values(requests, name))) for name in names},
        ANSWERED_COLUMN: pa.array(times, _TIME),
        DIGEST_COLUMN: pa.array(map(digest_of, texts), pa.string()),
        **{field.name: pa.nulls(len(texts), field.type) for field in PLACE},
        "row": pa.array(range(1, len(texts) + 1), PLACE.field("row").type),
        "raw": pa.array(raw, PLACE.field("raw").type),
    }
    return pa.table(columns)


def _values(requests: Iterable[AnsweredRequest], name: str) -> Iterator[object]:
    for request in requests:
        yield from request.columns.get(name, [None] * len(request.texts))


def _to_column(values: list[Any]) -> pa.Array:
    """Return values in the type that fits all of them, as of a file of JSON; else as texts."""
    found = [None if is_null(value) else _plain(value) for value in values]
    types = JsonTypeInference()
    for value in found:
        types.add(value)
    try:
        # Of what JSON has not, as times, Arrow finds the type.
        return pa.array(found) if types.type is None else cast_values(found, types.type)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return pa.array(map(_to_text, found), pa.string())


def _plain(value: Any) -> Any:
    """Return a value of numpy as Python's; of a text, what UTF-8 has not is escaped."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    return to_python(value)


def _to_text(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else to_json(value)
    return text.encode(errors="backslashreplace").decode()


def _is_storable(text: object) -> bool:
    if not isinstance(text, str):
        return text is None
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _to_bytes(text: object) -> bytes:
    shown = text if isinstance(text, str) else to_json(_plain(text))
    return shown.encode(errors="surrogatepass")


def join_added(requests: Sequence[AnsweredRequest]) -> pa.Table | None:
    """Return what look-ups and rules added to all rows; None of a version without."""
    business = requests[0].model.business
    if business is None:
        return None
    schema = to_schema(business.added_columns)
    tables = [
        request.added.select(schema.names).cast(schema)
        if request.added is not None
        else _nulls(schema, len(request.texts))
        for request in requests
    ]
    return pa.concat_tables(tables)


def _nulls(schema: pa.Schema, rows: int) -> pa.Table:
    return pa.table([pa.nulls(rows, kind) for kind in schema.types], schema=schema)
