"""The shadow of online serving: another version answers a sample of what was recorded.

It takes a text only while the line is idle, so that no request waits for it. What is recorded
faster than it can answer is dropped and counted.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq

from tasks.arms.assignment import is_sampled
from tasks.arms.types import ScoringModel
from tasks.common.task_errors import describe_error
from tasks.output.records import ShardRecord, table_path
from tasks.scoring.types import ScoringParameters
from tasks.serving.types import ServingOptions
from tasks.shadow.planning import plan_shadow, shadow_parameters
from tasks.shadow.shard_sample import answer_sample
from tasks.shadow.types import shadow_folder
from tasks.tracking.pipeline_loader import load_typed_pipeline

logger = logging.getLogger("millstream.serving")

# Files that wait for the shadow at most; of more, the oldest are dropped.
_MOST_WAITING = 4

# Seconds between two looks at whether the line is idle: a text takes about as long.
_LOOK_SECONDS = 0.01


class OnlineShadow:
    """Another version that answers a sample of recorded files, in a thread of its own.

    Attributes:
        answered: Rows that it answered.
        dropped: Files that it did not come to, or could not answer.
    """

    def __init__(self, options: ServingOptions, is_idle: Callable[[], bool]) -> None:
        """Start the thread.

        Args:
            options: The version, the share of the texts, and the folder of the record.
            is_idle: Returns whether no request is answered or waits.
        """
        self.answered = self.dropped = 0
        self._options = options
        self._folder = Path(options.record)
        self._is_idle = is_idle
        self._waiting: deque[tuple[ShardRecord, ScoringModel]] = deque()
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._said = ""
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def add(self, record: ShardRecord, model: ScoringModel) -> None:
        """Take a file that was recorded.

        Args:
            record: Its record.
            model: The version that answered.
        """
        with self._changed:
            if len(self._waiting) == _MOST_WAITING:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append((record, model))
            self._changed.notify()

    def close(self) -> None:
        """Drop what waits, and end the thread."""
        self._closing.set()
        with self._changed:
            self.dropped += len(self._waiting)
            self._waiting.clear()
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (found := self._wait_for_file()) is not None:
            try:
                self._answer(*found)
            except Exception as error:  # noqa: BLE001 -- the requests are answered, whatever fails
                self._drop(describe_error(error))

    def _wait_for_file(self) -> tuple[ShardRecord, ScoringModel] | None:
        with self._changed:
            while not self._waiting and not self._closing.is_set():
                self._changed.wait()
            return self._waiting.popleft() if self._waiting else None

    def _answer(self, record: ShardRecord, model: ScoringModel) -> None:
        parameters = ScoringParameters(
            model=model, output_dir=self._folder, rows=record.parameters, workers=1
        )
        plan = plan_shadow(self._options.shadow, parameters, audit_days=1)
        if plan.model is None:
            self._drop(plan.reason)
            return
        folder = shadow_folder(self._folder, plan.model.uri)
        own = shadow_parameters(plan, parameters, folder, self._options.shadow_fraction)
        if not self._answer_texts(record, plan.model):
            self.dropped += 1
            return
        counts = answer_sample(record, self._folder, own).counts  # from the prediction cache
        self.answered += counts.scored + counts.rejected

    def _answer_texts(self, record: ShardRecord, model: ScoringModel) -> bool:
        """Let the prediction cache have the answers; return False if the server ends before."""
        pipeline = load_typed_pipeline(model.uri)
        pipeline = getattr(pipeline, "inner", pipeline)
        for text in self._sampled_texts(record):
            while not self._is_idle():
                if self._closing.wait(_LOOK_SECONDS):
                    return False
            pipeline.answer([text], use_cache=True, batch_tokens=1)
        return not self._closing.is_set()

    def _sampled_texts(self, record: ShardRecord) -> Iterator[str]:
        path = table_path(self._folder, "predictions", record.shard.id)
        column = record.parameters.text_column
        texts = pq.read_table(path, columns=[column])[column].to_pylist()
        for text in dict.fromkeys(texts):
            if is_sampled(text, self._options.shadow_fraction):
                yield text

    def _drop(self, problem: str) -> None:
        """Count a file that cannot be answered, and say why unless that was said last."""
        if problem != self._said:
            self._said = problem
            logger.warning("shadow %s: %s", self._options.shadow, problem)
        with self._changed:
            self.dropped += 1
