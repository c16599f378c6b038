"""The answers that feedback is about: from the predictions of a shard, by row.

Those of recorded online requests are found by their texts as well, which may not be recorded.
"""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.arms.assignment import assign_arms
from tasks.common.files import sha256_of
from tasks.common.text import columns_called, sha256_of_text
from tasks.dataset.labels import KnownLabels
from tasks.dataset.splitting import digest_text
from tasks.feedback.feedback_rows import FeedbackRow, RefusedValueError
from tasks.output.file_ids import is_recorded_id, recorded_ids
from tasks.output.records import (
    ANSWERED_COLUMN,
    DECIDER_COLUMN,
    DIGEST_COLUMN,
    ShardRecord,
    read_record,
    table_path,
)
from tasks.output.tables import extract_texts
from tasks.output.traffic_split import ARMS

_ANSWER = ("row", "prediction_label", "prediction_score")


logger = logging.getLogger(__name__)


class _Given(NamedTuple):
    """An answer that was given.

    Attributes:
        text: The text; None if it was not recorded.
        label: The label.
        score: Its score.
        model_uri: The version that was asked.
        member: The member that decided; empty if the version is not composed.
        digest: Of a recorded request, the SHA-256 of the text; else empty.
        when: Of a recorded request, when it was answered; else None.
    """

    text: object
    label: str
    score: float
    model_uri: str
    member: str
    digest: str
    when: datetime | None


class GivenAnswers:
    """The predictions in an output folder, of which one shard is in memory.

    Args:
        scored: The output folder; None refuses each row.
        labels: Those of the model, in whose writing an answer is returned.
    """

    def __init__(self, scored: Path | None, labels: Sequence[str]) -> None:
        self._scored = scored
        self._known = KnownLabels(labels)
        self._shards = (
            {path.stem for path in (scored / "records").glob("*.json")} if scored else set()
        )
        self._shard = ""
        self._rows: Mapping[int, _Given] = {}

    @property
    def has_folder(self) -> bool:
        """Whether there is an output folder to look for answers in."""
        return self._scored is not None

    def join(self, row: FeedbackRow) -> FeedbackRow:
        """Return a row that names a prediction, with its text and answer.

        Rows of one shard should follow each other.

        Raises:
            RefusedValueError: If there is no such prediction, or the row has another text.
        """
        shard, number = row.shard or "", row.row or 0
        if shard != self._shard:
            self._rows, self._shard = self._read(shard), shard
        if number not in self._rows:
            expected = f"expected a row in predictions/{shard}.parquet of {self._scored}"
            raise RefusedValueError("row", number, "no prediction", expected)
        return self._with(row, self._rows[number])

    def join_texts(self, rows: Sequence[FeedbackRow]) -> list[FeedbackRow]:
        """Return rows, with the answer of the recorded request that had the same text.

        It is the last that was given before the label. Rows that have an answer, or a text that no
        request before them had, stay as they are.
        """
        places: dict[str, list[int]] = {}
        for place, row in enumerate(rows):
            if row.model_uri is None:
                places.setdefault(sha256_of_text(row.text), []).append(place)
        last: dict[int, tuple[datetime, _Given]] = {}
        for given in self._recorded(places):
            for place in places.get(given.digest, ()):
                when = given.when
                if when is None or when > rows[place].when:
                    continue
                if place not in last or last[place][0] <= when:
                    last[place] = (when, given)
        return [
            self._with(row, last[place][1]) if place in last else row
            for place, row in enumerate(rows)
        ]

    def _with(self, row: FeedbackRow, given: _Given) -> FeedbackRow:
        """Return a row with an answer.

        Raises:
            RefusedValueError: If the row has another text, or no text and none was recorded.
        """
        if given.text is None and not row.text:
            expected = "expected the text beside shard and row"
            raise RefusedValueError("text", None, "not recorded", expected)
        if row.text and not _is_text_of(row.text, given):
            expected = "expected the text of the prediction, or none"
            raise RefusedValueError("text", row.text, "another one than that of the row", expected)
        return row._replace(
            text=row.text if given.text is None else str(given.text),
            model_uri=given.model_uri,
            answered_label=self._known.find(given.label) or given.label,
            answered_score=given.score,
            member=given.member,
        )

    def _recorded(self, digests: Collection[str]) -> Iterator[_Given]:
        """Yield the recorded answers of files that have one of some texts."""
        if self._scored is None or not digests:
            return
        for shard in recorded_ids(self._scored):
            try:
                record = read_record(self._scored, shard)
                if record is not None and _has_any(self._scored, shard, digests):
                    yield from (given for _, given in _answers_of(self._scored, record))
            except (ValueError, OSError, KeyError, pa.ArrowException):
                logger.warning("%s: recorded requests that cannot be read are left out", shard)

    def _read(self, shard: str) -> Mapping[int, _Given]:
        if self._scored is None:
            expected = "expected the output folder of the scoring, in scored"
            raise RefusedValueError("shard", shard, "no output folder", expected)
        expected = f"expected a shard of {self._scored}"
        # Of those that are there: a name of somebody else may be a path.
        if shard not in self._shards:
            raise RefusedValueError("shard", shard, "unknown", expected)
        try:
            record = read_record(self._scored, shard)
            if record is None:
                raise RefusedValueError("shard", shard, "unknown", expected)
            return dict(_answers_of(self._scored, record))
        except (ValueError, OSError, KeyError, pa.ArrowException):
            expected = "expected a shard that is whole: score it again"
            raise RefusedValueError("shard", shard, "cannot be read", expected) from None


def _answers_of(scored: Path, record: ShardRecord) -> Iterator[tuple[int, _Given]]:
    parameters = record.parameters
    path = table_path(scored, "predictions", record.shard.id)
    if sha256_of(path) != record.files["predictions"]:
        raise ValueError(f"{path}: is not that of its record")
    # Not read_table, whose data sets have columns of their own.
    file = pq.ParquetFile(path)
    names = file.schema_arrow.names
    wanted = [parameters.text_column]
    if parameters.traffic and parameters.traffic.key_column:
        wanted.append(parameters.traffic.key_column)
    columns = {name for want in wanted for name in columns_called(names, want)[:1]}
    columns |= {DECIDER_COLUMN, DIGEST_COLUMN, ANSWERED_COLUMN}.intersection(names)
    rows = file.read([*_ANSWER, *columns])
    arms = assign_arms(rows, parameters).arms
    numbers, labels, scores = (rows[name].to_pylist() for name in _ANSWER)
    members = _values(rows, DECIDER_COLUMN)
    is_recorded = is_recorded_id(record.shard.id)
    digests = _values(rows, DIGEST_COLUMN if is_recorded else "")
    times = _values(rows, ANSWERED_COLUMN if is_recorded else "")
    texts = extract_texts(rows, parameters.text_column)
    for number, text, label, score, arm, member, digest, when in zip(
        numbers, texts, labels, scores, arms, members, digests, times, strict=True
    ):
        # Not the version in the row: of an answer from the cache, that is the one that computed it.
        version = record.arms[ARMS[arm]] if record.arms else record
        yield (
            number,
            _Given(text, label, score, version.model_uri, member or "", digest or "", when),
        )


def _values(rows: pa.Table, column: str) -> list[Any]:
    return rows[column].to_pylist() if column in rows.column_names else [None] * rows.num_rows


def _has_any(scored: Path, shard: str, digests: Collection[str]) -> bool:
    with pq.ParquetFile(table_path(scored, "predictions", shard)) as file:
        (found,) = file.read([DIGEST_COLUMN]).columns
    return not set(digests).isdisjoint(found.to_pylist())


def _is_text_of(text: str, given: _Given) -> bool:
    if given.text is None:
        return sha256_of_text(text) == given.digest
    return digest_text(text) == digest_text(str(given.text))
