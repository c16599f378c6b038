"""Collect feedback: read what is new, join it with the answers that were given, and keep it."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from tasks.common.counting import count_values
from tasks.common.errors import DataError, ParameterError
from tasks.common.settings import get_settings
from tasks.common.task_errors import describe_error
from tasks.common.urls import path_errors, resolved_path
from tasks.feedback.feedback_files import (
    digest_feedback_file,
    find_feedback_files,
    read_feedback_file,
)
from tasks.feedback.feedback_rows import (
    FeedbackRow,
    FeedbackSource,
    Refusal,
    RefusedValueError,
    RowChecker,
)
from tasks.feedback.feedback_table import read_feedback_table
from tasks.feedback.given_answers import GivenAnswers
from tasks.feedback.store import FeedbackStore, digest_store, join_batches
from tasks.feedback.types import Answerer, CollectedFeedback, FeedbackRequest

logger = logging.getLogger(__name__)


class AnsweringModel(NamedTuple):
    """The version that answers today.

    Attributes:
        labels: Its labels.
        answer: Answers texts that no scoring has.
    """

    labels: Sequence[str]
    answer: Answerer


def collect(request: FeedbackRequest, model: AnsweringModel) -> CollectedFeedback:
    """Take feedback into the store, whose batches get one more if there is any news.

    A file that cannot be read, or a row that cannot be used, does not stop the others. A collection
    that is killed leaves the batches as they were, and the next makes the one that it would have
    made.

    Args:
        request: Where feedback is taken from.
        model: The version that answers today.

    Raises:
        ParameterError: If a place or the output folder is missing, or the database of the table has
            no address.
        DataError: If a batch of the store is damaged.
    """
    settings = get_settings()
    if not request.feedback:
        settings.feedback.mkdir(parents=True, exist_ok=True)
    files = find_feedback_files(request.feedback or [str(settings.feedback)])
    scored = _resolve_scored(request.scored) if request.scored else None
    store = FeedbackStore(settings.feedback_store)
    with store.locked():
        collection = _Collection(store, GivenAnswers(scored, model.labels), model)
        for file in files:
            collection.read_file(file)
        if request.feedback_table:
            read = partial(read_feedback_table, request.feedback_table)
            collection.read(request.feedback_table, read)
        collection.require_any()
        rows = collection.new_rows()
        refused_files = collection.keep_refused(store)
        # Last: a file counts as taken once its rows are in the store.
        batch = store.add(rows) if rows else ""
        reasons = (
            ": ".join(filter(None, (refusal.column, refusal.reason)))
            for refusal in collection.refused
        )
        return CollectedFeedback(
            batch=batch,
            taken=len(rows),
            duplicates=collection.duplicates,
            refused=count_values(reasons),
            refused_files=refused_files,
            unreadable=collection.unreadable,
            known=tuple(collection.known),
            store_digest=digest_store(store.read()),
        )


def _resolve_scored(scored: str) -> Path:
    expected = "the output folder of a scoring"
    folder = resolved_path("scored", scored, expected)
    with path_errors("scored", scored, expected):
        if not (folder / "records").is_dir():
            raise ParameterError(f"scored: {folder} has no records/; expected {expected}")
    return folder


class _Collection:
    """What a collection found so far."""

    def __init__(self, store: FeedbackStore, answers: GivenAnswers, model: AnsweringModel) -> None:
        self._store = store
        self._stored = _StoredRows(join_batches(store.read()))
        self._answers, self._answer = answers, model.answer
        self._checker = RowChecker(model.labels)
        self._sources: list[FeedbackSource] = []
        self.known: list[str] = []
        self.unreadable: dict[str, str] = {}
        self.refused: list[Refusal] = []
        self.duplicates = 0

    def read_file(self, path: Path) -> None:
        """Read a file, if the store has not had it."""
        name = os.fsencode(path).decode(errors="backslashreplace")
        if name != str(path):  # no Parquet file can hold it
            self._leave(name, f"{name}: the file's name is not UTF-8; expected a name in UTF-8")
            return
        try:
            digest = digest_feedback_file(path)
        except (DataError, OSError) as error:
            self._leave(name, _describe(name, error))
            return
        if not self._is_known(name, digest):
            self.read(name, partial(read_feedback_file, path, digest))

    def read(self, name: str, read: Callable[[], FeedbackSource]) -> None:
        """Read a file or table, unless it cannot be read, or the store has had it."""
        try:
            source = read()
        except (DataError, OSError) as error:
            self._leave(name, _describe(name, error))
            return
        if not self._is_known(name, source.sha256):
            self._sources.append(source)

    def require_any(self) -> None:
        """Check that of the files and tables, if there are any, one can be read.

        Raises:
            DataError: If none can, with the first reason.
        """
        if self.unreadable and not (self._sources or self.known):
            reason, *others = self.unreadable.values()
            more = f"; {len(others)} more cannot be read either" if others else ""
            raise DataError(f"feedback: {reason}{more}")

    def new_rows(self) -> list[FeedbackRow]:
        """Return the rows that the store does not have, with their answers."""
        checked = chain.from_iterable(map(self._check_rows, self._sources))
        # The rows of a shard follow each other.
        placed = sorted(checked, key=lambda row: (row.shard or "", row.source, row.source_row))
        joined = sorted(self._changed(placed, self._join), key=_place)
        new = [row for row in joined if self._stored.add(row)]
        self.duplicates = len(joined) - len(new)
        return list(self._with_answers(new))

    def keep_refused(self, store: FeedbackStore) -> dict[str, str]:
        """Write the refused rows of each file or table, and return where they are."""
        kept = {}
        for source in self._sources:
            found = [refusal for refusal in self.refused if refusal.source == source.name]
            found.sort(key=lambda refusal: refusal.source_row)
            if path := store.keep_refused(source.sha256, found):
                kept[source.name] = str(path)
                logger.warning(
                    "%s: %d of %d rows are refused, the first is row %d; they are in %s",
                    *(source.name, len(found), len(source.rows), found[0].source_row, path),
                )
        return kept

    def _leave(self, name: str, reason: str) -> None:
        logger.warning("feedback is not taken: %s", reason)
        self.unreadable[name] = reason

    def _is_known(self, name: str, sha256: str) -> bool:
        here = {source.sha256 for source in self._sources}
        # Rows that were refused may be of use now: a label that is known, a folder that is there.
        stored = sha256 in self._stored.sources and not self._store.has_refused(sha256)
        if is_known := stored or sha256 in here:
            self.known.append(name)
        return is_known

    def _check_rows(self, source: FeedbackSource) -> Iterator[FeedbackRow]:
        for row in source.rows:
            try:
                yield self._checker.check(source, row)
            except RefusedValueError as error:
                self.refused.append(error.of_row(source.name, source.sha256, row.number))

    def _join(self, row: FeedbackRow) -> FeedbackRow:
        # A row with a text of its own needs no folder.
        is_alone = row.shard is None or (row.text and not self._answers.has_folder)
        return row if is_alone else self._answers.join(row)

    def _changed(
        self, rows: Iterable[FeedbackRow], change: Callable[[FeedbackRow], FeedbackRow]
    ) -> Iterator[FeedbackRow]:
        """Yield rows that are changed, but those that cannot be."""
        for row in rows:
            try:
                yield change(row)
            except RefusedValueError as error:
                self.refused.append(error.of_row(row.source, row.source_sha256, row.source_row))

    def _with_answers(self, rows: Sequence[FeedbackRow]) -> Iterator[FeedbackRow]:
        rows = self._answers.join_texts(rows)
        texts = [row.text for row in rows if row.model_uri is None]
        answers = iter(self._answer(texts) if texts else ())

        def answered(row: FeedbackRow) -> FeedbackRow:
            if row.model_uri is not None:
                return row
            answer = next(answers)
            if answer is None:
                expected = "expected a text that the model answers"
                raise RefusedValueError("text", row.text, "refused by the model", expected)
            return row._replace(
                model_uri=answer.model_uri,
                answered_label=answer.label,
                answered_score=answer.score,
                member=answer.member,
            )

        return self._changed(rows, answered)


def _place(row: FeedbackRow) -> tuple[str, int]:
    return row.source, row.source_row


def _describe(name: str, error: DataError | OSError) -> str:
    reason = describe_error(error)
    return reason if isinstance(error, DataError) else f"{name}: cannot be read ({reason})"


# Rows that agree in these are one; `_StoredRows.add` says when the second.
_SAID = ("text_digest", "label", "when", "by")
_SAID_THERE = ("text_digest", "label", "by", "source", "source_row")


class _StoredRows:
    """What the store has, to tell new rows from others.

    Args:
        rows: Its rows.

    Attributes:
        sources: The digests of files and tables that they are from.
    """

    def __init__(self, rows: pa.Table) -> None:
        columns = {name: rows[name].to_pylist() for name in {*_SAID, *_SAID_THERE}}
        self.sources = set(rows["source_sha256"].to_pylist())
        self._said = set(zip(*map(columns.get, _SAID), strict=True))
        self._said_there = set(zip(*map(columns.get, _SAID_THERE), strict=True))

    def add(self, row: FeedbackRow) -> bool:
        """Return whether a row is new; from then on it is not.

        A row without a time of its own gets a later one whenever its file grows. It is not new if
        the same place of the file has said the same before.
        """
        said = tuple(getattr(row, name) for name in _SAID)
        there = tuple(getattr(row, name) for name in _SAID_THERE)
        if said in self._said or (not row.is_dated and there in self._said_there):
            return False
        self._said.add(said)
        self._said_there.add(there)
        return True
