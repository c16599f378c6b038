"""The rows of a window that one member predicts: submitted once each, and collected as needed."""

import logging
from collections.abc import Iterator, Sequence

from ..bisection import Failure, bisect_failures, is_failure
from ..classifier import Batch, Classifier
from ..contract import Prediction
from .shared_tokens import WindowTokens

logger = logging.getLogger("pyfunc.inference")

_PROBE = "."  # a text that any model can predict

Predicted = Prediction | Failure


class MemberRows:
    """What a member predicts of a window.

    Attributes:
        results: Its predictions and failures so far, by row.
        retried: Texts that were tried again because their batch failed.
    """

    def __init__(
        self,
        classifier: Classifier,
        window: WindowTokens,
        *,
        batch_tokens: int,
        all_scores: bool,
    ) -> None:
        """Take a window; nothing is computed yet.

        Args:
            classifier: The member.
            window: All texts of the window.
            batch_tokens: Padded tokens in a batch at most.
            all_scores: Whether each prediction has the probability of every label.
        """
        self._classifier = classifier
        self._window = window
        self._batch_tokens = batch_tokens
        self._all_scores = all_scores
        self._submitted: set[int] = set()
        self._batches: list[tuple[list[int], Batch]] = []
        self.results: dict[int, Predicted] = {}
        self.retried = 0

    def submit(self, rows: Sequence[int]) -> None:
        """Submit those of the rows that have not been; none if the tokenizer raises on one."""
        new = [row for row in rows if row not in self._submitted]
        if not new:
            return
        self._submitted.update(new)
        try:
            tokens = self._window.tokens_of(new, self._classifier)
            batches = self._classifier.submit(tokens, self._batch_tokens)
        except BaseException as error:
            if not is_failure(error):
                raise
            return
        self._batches += [([new[index] for index in batch.indices], batch) for batch in batches]

    def collect(self, rows: Sequence[int]) -> Iterator[dict[int, Predicted]]:
        """Yield the predictions of rows as they are computed; a text that raises fails alone.

        Raises:
            Exception: If the model raises on every text.
        """
        self.submit(rows)
        missing = {row for row in rows if row not in self.results}
        if known := {row: self.results[row] for row in rows if row not in missing}:
            yield known
        unread: list[tuple[list[int], Batch]] = []
        for places, batch in self._batches:
            if missing.isdisjoint(places):
                unread.append((places, batch))
                continue
            if found := self._read(places, batch):
                self.results |= found
                wanted = {row: value for row, value in found.items() if row in missing}
                missing.difference_update(wanted)
                yield wanted
        self._batches = unread
        if missing:
            again = self._try_again(sorted(missing))
            self.results |= again
            yield again

    def cancel(self) -> None:
        """Cancel what has not started."""
        for _, batch in self._batches:
            batch.cancel()

    def _read(self, places: Sequence[int], batch: Batch) -> dict[int, Predicted]:
        """Return the predictions of a batch, or none if it failed."""
        try:
            return dict(zip(places, batch.predictions(all_scores=self._all_scores), strict=True))
        except BaseException as error:
            if not is_failure(error):
                raise
            return {}

    def _try_again(self, rows: Sequence[int]) -> dict[int, Predicted]:
        self.retried += len(rows)
        logger.warning("%d texts are tried again: a batch of them failed", len(rows))
        # A failure of the whole process, as a lack of memory, must not refuse texts: then the
        # probe raises.
        self._predict([_PROBE])
        found = bisect_failures(self._predict, [self._window.texts[row] for row in rows])
        return dict(zip(rows, found, strict=True))

    def _predict(self, texts: Sequence[str]) -> list[Prediction]:
        return self._classifier.predict(texts, self._batch_tokens, all_scores=self._all_scores)
