"""The answers that feedback is about: from the predictions of a shard, by row."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.arms.assignment import assign_arms
from tasks.common.files import sha256_of
from tasks.common.text import columns_called
from tasks.dataset.labels import KnownLabels
from tasks.dataset.splitting import digest_text
from tasks.feedback.feedback_rows import FeedbackRow, RefusedValueError
from tasks.output.records import DECIDER_COLUMN, ShardRecord, read_record, table_path
from tasks.output.tables import extract_texts
from tasks.output.traffic_split import ARMS

_ANSWER = ("row", "prediction_label", "prediction_score")
_TEXT_AND_ANSWER = tuple[object, str, float, str, str]


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
        self._rows: Mapping[int, _TEXT_AND_ANSWER] = {}

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
        text, label, score, model_uri, member = self._rows[number]
        if row.text and digest_text(row.text) != digest_text(str(text)):
            expected = "expected the text of the prediction, or none"
            raise RefusedValueError("text", row.text, "another one than that of the row", expected)
        return row._replace(
            text=str(text),
            model_uri=model_uri,
            answered_label=self._known.find(label) or label,
            answered_score=score,
            member=member,
        )

    def _read(self, shard: str) -> Mapping[int, _TEXT_AND_ANSWER]:
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


def _answers_of(scored: Path, record: ShardRecord) -> Iterator[tuple[int, _TEXT_AND_ANSWER]]:
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
    if is_composed := DECIDER_COLUMN in names:
        columns.add(DECIDER_COLUMN)
    rows = file.read([*_ANSWER, *columns])
    arms = assign_arms(rows, parameters).arms
    numbers, labels, scores = (rows[name].to_pylist() for name in _ANSWER)
    members = rows[DECIDER_COLUMN].to_pylist() if is_composed else [""] * rows.num_rows
    texts = extract_texts(rows, parameters.text_column)
    for number, text, label, score, arm, member in zip(
        numbers, texts, labels, scores, arms, members, strict=True
    ):
        # Not the version in the row: of an answer from the cache, that is the one that computed it.
        version = record.arms[ARMS[arm]] if record.arms else record
        yield number, (text, label, score, version.model_uri, member or "")
