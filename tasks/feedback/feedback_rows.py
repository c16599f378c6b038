"""Rows of feedback: checked one by one, and the reason if one cannot be used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from pyfunc.pipeline import refusal_reason
from tasks.common.errors import DataError
from tasks.common.text import columns_called
from tasks.dataset.labels import KnownLabels, is_missing, label_key, label_text
from tasks.dataset.splitting import digest_text
from tasks.ingestion.column_checks import check_sole
from tasks.output.records import REVIEWED_COLUMN

COLUMNS = ("text", "shard", "row", "label", "when", "by")

_LONGEST_VALUE = 500  # characters of a refused one
_NAMED_LABELS = 10
_DIGITS = 19  # of the largest number that Arrow holds
_PLACE = "expected a text, or the shard and the row of a prediction"


class SourceRow(NamedTuple):
    """A row as it stands in a file or table.

    Attributes:
        number: Its number, counted from 1.
        values: Its values by the names of `COLUMNS`.
        raw: Its bytes, if it could not be parsed.
        reason: Why it could not be; empty if it could.
    """

    number: int
    values: Mapping[str, object]
    raw: bytes = b""
    reason: str = ""


@dataclass(frozen=True)
class FeedbackSource:
    """A file or table of feedback.

    Attributes:
        name: Its path, or its name as in `crm.feedback`.
        sha256: Digest of its content.
        modified: When a label was given that has no time of its own; None refuses such a row.
        rows: Its rows.
    """

    name: str
    sha256: str
    modified: datetime | None
    rows: Sequence[SourceRow]


class FeedbackRow(NamedTuple):
    """A label that somebody gave to a text.

    Attributes:
        text: The text; empty until it is known.
        label: The label, as the model writes it.
        when: When it was given.
        by: Who gave it; empty if nobody says.
        source: The file or table that has it.
        source_sha256: Digest of that.
        source_row: Its number there, counted from 1.
        is_dated: Whether its time is its own, and not that of the file.
        shard: The shard of the prediction that it is about; None if it is about a text.
        row: The number of that prediction's row in its input file, counted from 1.
        model_uri: The version that answered; None until it is known, and so are the next.
        answered_label: What it answered.
        answered_score: The score of that.
        member: The member that decided; empty if the version is not composed.
    """

    text: str
    label: str
    when: datetime
    by: str
    source: str
    source_sha256: str
    source_row: int
    is_dated: bool
    shard: str | None = None
    row: int | None = None
    model_uri: str | None = None
    answered_label: str | None = None
    answered_score: float | None = None
    member: str = ""

    @property
    def text_digest(self) -> str:
        """Digest of the text, which texts with equal normal forms share."""
        return digest_text(self.text)


class Refusal(NamedTuple):
    """A row that cannot be used.

    Attributes:
        source: The file or table that has it.
        source_sha256: Digest of that.
        source_row: Its number there, counted from 1.
        column: The column with the value at fault; empty if it is the whole row.
        value: The value.
        reason: Why it cannot be used, without any text of the row.
        expected: What was expected.
    """

    source: str
    source_sha256: str
    source_row: int
    column: str
    value: str
    reason: str
    expected: str


class RefusedValueError(Exception):
    """A value of a row cannot be used.

    Args:
        column: Its column; empty if it is the whole row.
        value: The value.
        reason: Why, without any text of the row.
        expected: What was expected.
    """

    def __init__(self, column: str, value: object, reason: str, expected: str) -> None:
        super().__init__(f"{column}: {reason}; {expected}")
        self.column, self.reason, self.expected = column, reason, expected
        shown = "" if value is None else str(value)[:_LONGEST_VALUE]
        self.value = shown.encode(errors="backslashreplace").decode()

    def of_row(self, source: str, sha256: str, row: int) -> Refusal:
        """Return the refusal of the row with the value."""
        return Refusal(source, sha256, row, self.column, self.value, self.reason, self.expected)


def find_columns(source: str, names: Sequence[str]) -> dict[str, str]:
    """Return which of `COLUMNS` a table has, with what it calls them.

    A file of `review/` has the label in `reviewed_label`, and may have an older one in `label`.

    Raises:
        DataError: If the label or what it is about is missing, or several could be meant.
    """
    found = {}
    for column in COLUMNS:
        for name in (REVIEWED_COLUMN, column) if column == "label" else (column,):
            called = columns_called(names, name)
            check_sole(Path(source), name, called)
            if called:
                found[column] = called[0]
                break
    if "label" not in found or not ("text" in found or {"shard", "row"} <= found.keys()):
        # The others stay unsaid: without a header line they are the first row's text.
        raise DataError(
            f"{source}: its {len(names)} columns are not those of feedback; expected label, and "
            "text or shard and row"
        )
    return found


class RowChecker:
    """Checks rows of feedback, one by one.

    Args:
        labels: Those of the model.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._known = KnownLabels(labels)
        more = ", …" if len(labels) > _NAMED_LABELS else ""
        self._expected = f"expected one of {', '.join(map(repr, labels[:_NAMED_LABELS]))}{more}"

    def check(self, source: FeedbackSource, row: SourceRow) -> FeedbackRow:
        """Return a row of feedback.

        Args:
            source: Where it is from.
            row: The row.

        Raises:
            RefusedValueError: If it cannot be used.
        """
        if row.reason:
            raw = row.raw.decode(errors="backslashreplace")
            raise RefusedValueError("", raw, row.reason, "expected a row that can be read")
        values = {name: None if is_missing(value) else value for name, value in row.values.items()}
        shard, number = _parse_place(values)
        text = values.get("text")
        if text is None and shard is None:
            raise RefusedValueError("", None, "neither text nor shard and row", _PLACE)
        if text is not None and (reason := refusal_reason(text)):
            raise RefusedValueError("text", text, reason, "expected a text with words")
        given = values.get("when")
        return FeedbackRow(
            text=str(text or ""),
            label=self._parse_label(values.get("label")),
            when=_parse_time(given, source.modified),
            by=_parse_name(values.get("by")),
            source=source.name,
            source_sha256=source.sha256,
            source_row=row.number,
            is_dated=given is not None,
            shard=shard,
            row=number,
        )

    def _parse_label(self, value: object) -> str:
        if value is None:
            raise RefusedValueError("label", None, "empty", self._expected)
        label = self._known.find(value)
        if label is None:
            raise RefusedValueError("label", value, "unknown", self._expected)
        return label


def _parse_place(values: Mapping[str, object]) -> tuple[str | None, int | None]:
    shard, row = values.get("shard"), values.get("row")
    if shard is None and row is None:
        return None, None
    if shard is None or row is None:
        missing = "shard" if shard is None else "row"
        raise RefusedValueError(missing, None, "missing", "expected both shard and row")
    # A column with nulls has whole numbers as 7.0.
    number = label_key(label_text(row) or "")
    # Arrow holds no larger ones.
    if not (number.isdecimal() and len(number) < _DIGITS and int(number)):
        raise RefusedValueError("row", row, "no row number", "expected a number from 1 on")
    return str(shard).strip(), int(number)


def _parse_time(value: object, modified: datetime | None) -> datetime:
    """Return a time in UTC; one without a zone is taken for UTC."""
    if value is None and modified is not None:
        return modified
    try:
        found = value if isinstance(value, date) else datetime.fromisoformat(str(value).strip())
        if not isinstance(found, datetime):
            found = datetime(found.year, found.month, found.day, tzinfo=UTC)
        zoned = found if found.tzinfo else found.replace(tzinfo=UTC)
        # pandas has a subclass of its own, with nanoseconds.
        given = datetime.fromisoformat(zoned.astimezone(UTC).isoformat(timespec="microseconds"))
    except (ValueError, OverflowError):
        reason = "missing" if value is None else "no time"
        expected = "expected a time such as 2026-11-30T17:05:00+01:00"
        raise RefusedValueError("when", value, reason, expected) from None
    # Else no correction would ever be newer. Without a zone, an hour of elsewhere may be ahead.
    if given > datetime.now(UTC) + timedelta(days=1):
        raise RefusedValueError("when", value, "in the future", "expected a time that has come")
    return given


def _parse_name(value: object) -> str:
    if value is None:
        return ""
    name = label_text(value)
    if name is None or refusal_reason(name):
        raise RefusedValueError("by", value, "no name", "expected a text")
    return name
