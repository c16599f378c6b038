"""Record answered requests: sampled, buffered, and written to an output folder by a thread."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from tasks.arms.assignment import is_sampled
from tasks.arms.types import ScoringModel
from tasks.common.errors import DataError, ParameterError
from tasks.common.task_errors import class_and_line, describe_error
from tasks.output.file_ids import is_shard_id, shards_of_folder
from tasks.output.folder import resolve_writable_folder
from tasks.output.records import ShardRecord
from tasks.recording.recorded_rows import RECORDED_COLUMNS, AnsweredRequest
from tasks.recording.recorded_shard import complete_interrupted, write_recorded
from tasks.recording.types import RECORDING, RecordOptions

logger = logging.getLogger(__name__)

_FILES_BUFFERED = 5  # as many rows as so many files have, before rows are dropped
_FILE_CHARACTERS = 2**24
_ROW_CHARACTERS = 200  # what a row takes beside its texts, about
_RETRY_SECONDS = 5.0


@dataclass
class _Pending:
    """Requests that one version answered, and that are not written yet.

    Attributes:
        due: When they are written, by the monotonic clock.
        requests: The requests.
        rows: Their rows.
        characters: What they take, about.
    """

    due: float
    requests: list[AnsweredRequest] = field(default_factory=list)
    rows: int = 0
    characters: int = 0

    def add(self, requests: Sequence[AnsweredRequest], rows: int, characters: int) -> None:
        """Add requests."""
        self.requests += requests
        self.rows += rows
        self.characters += characters


class Recorder:
    """Writes answered requests to a folder that is laid out as an output of scoring.

    A file has the rows of one version. It is there as a whole or not at all: a kill loses what is
    buffered. Several processes may record into one folder.

    Args:
        folder: The folder; it need not exist.
        options: What is recorded.
        on_written: Called in the thread of the writer with the record of each file, and the version
            that answered its rows.

    Attributes:
        recorded: Rows that are in files.
        dropped: Rows that were to be recorded and are not, as the buffer was full, the folder could
            not be written until the end, or they cannot be written at all.

    Raises:
        ParameterError: If the folder has the output of a scoring, whose runs remove drafts.
        OutputError: If it may not be written, or its disk is full.
    """

    def __init__(
        self,
        folder: Path,
        options: RecordOptions = RECORDING,
        on_written: Callable[[ShardRecord, ScoringModel], None] | None = None,
    ) -> None:
        self._folder = resolve_record_folder(folder)
        self._options = options
        self._on_written = on_written
        self._pending: dict[str, _Pending] = {}
        self._rows = self._characters = 0  # pending, or being written
        self._closing = False
        self._retry_at = 0.0  # by the monotonic clock; nothing is written before
        self._warned: set[str] = set()
        self.recorded = self.dropped = 0
        self._changed = threading.Condition()
        # No thread that the end of the process waits for: `close` does.
        self._writer = threading.Thread(target=self._write_pending, name="recorder", daemon=True)
        self._writer.start()

    def add(self, answered: AnsweredRequest) -> None:
        """Take a request that was answered, from any thread; nothing is raised or waited for."""
        try:
            self._add(answered)
        except Exception as error:  # noqa: BLE001 -- the request is answered, whatever fails here
            with self._changed:
                self._drop(len(answered.outcomes), describe_error(error))

    def close(self) -> None:
        """Write what is buffered, and return when it is written, or cannot be."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._writer.join()

    def _add(self, answered: AnsweredRequest) -> None:
        _check_request(answered)
        fraction = self._options.fraction
        places = [
            place
            for place, text in enumerate(answered.texts)
            if fraction >= 1 or is_sampled(text, fraction)
        ]
        if not places:
            return
        request = answered.select(places)
        rows, characters = len(places), _characters_of(request)
        with self._changed:
            if self._closing:
                self._drop(rows, "the recorder is closed")
            elif not self._has_room(rows, characters):
                self._drop(rows, "rows come faster than they can be written")
            else:
                self._put([request], rows, characters)

    def _has_room(self, rows: int, characters: int) -> bool:
        return (
            self._rows + rows <= _FILES_BUFFERED * self._options.rows_per_file
            and self._characters + characters <= _FILES_BUFFERED * _FILE_CHARACTERS
        )

    def _put(self, requests: Sequence[AnsweredRequest], rows: int, characters: int) -> None:
        uri = requests[0].model.uri
        if is_first := uri not in self._pending:
            self._pending[uri] = _Pending(time.monotonic() + self._options.seconds_per_file)
        pending = self._pending[uri]
        pending.add(requests, rows, characters)
        self._rows += rows
        self._characters += characters
        if is_first or self._is_full(pending):
            self._changed.notify()

    def _is_full(self, pending: _Pending) -> bool:
        return pending.rows >= self._options.rows_per_file or pending.characters >= _FILE_CHARACTERS

    def _drop(self, rows: int, reason: str) -> None:
        self.dropped += rows
        self._warn(f"rows are dropped ({reason})")

    def _warn(self, problem: str) -> None:
        if problem not in self._warned:
            self._warned.add(problem)
            logger.warning("record: %s: %s; said once", self._folder, problem)

    def _write_pending(self) -> None:
        while (pending := self._wait_for_due()) is not None:
            self._write(pending)

    def _wait_for_due(self) -> _Pending | None:
        """Return what is to be written now; None at the end."""
        with self._changed:
            while True:
                now = time.monotonic()
                dues = {uri: self._due(pending, now) for uri, pending in self._pending.items()}
                first = min(dues, key=dues.__getitem__, default=None)
                if first is not None and dues[first] <= now:
                    return self._pending.pop(first)
                if self._closing:
                    return None
                self._changed.wait(None if first is None else dues[first] - now)

    def _due(self, pending: _Pending, now: float) -> float:
        if self._closing:
            return now
        return max(now if self._is_full(pending) else pending.due, self._retry_at)

    def _write(self, pending: _Pending) -> None:
        rows, characters = pending.rows, pending.characters
        failure, may_pass = "", False
        try:
            complete_interrupted(self._folder)
            record = write_recorded(
                self._folder, pending.requests, with_text=self._options.with_text
            )
            if self._on_written:
                self._on_written(record, pending.requests[0].model)
        except OSError as error:
            failure, may_pass = describe_error(error), True
        except Exception as error:  # noqa: BLE001 -- else no later row would ever be recorded
            failure = class_and_line(error)
        with self._changed:
            self._rows -= rows
            self._characters -= characters
            if not failure:
                self.recorded += rows
            elif may_pass and not self._closing:
                self._warn(f"cannot be written ({failure}), and is tried again")
                self._retry_at = time.monotonic() + _RETRY_SECONDS
                self._put(pending.requests, rows, characters)
            else:
                self._drop(rows, failure)


def resolve_record_folder(folder: Path) -> Path:
    """Return the path of a folder that requests can be recorded in.

    Raises:
        ParameterError: If it has the output of a scoring, whose runs remove drafts.
        OutputError: If it may not be written, or its disk is full.
    """
    found = resolve_writable_folder("record", str(folder))
    if any(map(is_shard_id, shards_of_folder(found))):
        raise ParameterError(
            f"record: {found} has the output of a scoring; expected a folder of its own"
        )
    return found


def _check_request(answered: AnsweredRequest) -> None:
    """Check that a request can be recorded.

    Raises:
        DataError: If a column has a name that the record needs, or not a value for each text.
    """
    business = answered.model.business
    added = business.added_columns if business else {}
    if taken := sorted(answered.columns.keys() & (RECORDED_COLUMNS | added.keys())):
        raise DataError(f"the columns {taken} are reserved; expected other names")
    lengths = {len(values) for values in (answered.outcomes, *answered.columns.values())}
    if answered.added is not None:
        lengths.add(answered.added.num_rows)
    if lengths != {len(answered.texts)}:
        raise DataError("a column has not as many values as there are texts")


def _characters_of(request: AnsweredRequest) -> int:
    """Return what a request takes, about."""
    values = chain(request.texts, *request.columns.values())
    texts = sum(len(value) for value in values if isinstance(value, str))
    return texts + _ROW_CHARACTERS * len(request.texts)
