"""Language and prediction: what a row costs that no cache answers."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from .bisection import Failure, bisect_failures, is_failure
from .classifier import Batch, Classifier
from .contract import Answer, Language, Prediction, Provenance, Refusal
from .language import LanguageDetector

logger = logging.getLogger("pyfunc.computing")

Rule = Callable[[Language], str]
Progress = Callable[[int], None]
Result = Answer | Refusal

_PROBE = "."  # a text that any model can read

# Texts that are taken on together: enough that their order by length leaves little to pad, and
# few enough that memory does not grow with the call.
_WINDOW = 2_048

# Results that are handed on together: enough for one transaction, and few enough that little is
# left to store when the engine is done.
_RESULTS = 256


@dataclass(frozen=True, slots=True)
class _Window:
    """Texts that are taken on together.

    Attributes:
        start: How many texts of the call come before.
        texts: The texts.
        languages: Their languages, or why they are refused.
        accepted: Places of those that the engine has, in the order in which it got them.
        batches: Those, on their way.
    """

    start: int
    texts: Sequence[str]
    languages: list[Language | Refusal]
    accepted: Sequence[int]
    batches: list[Batch]


class Computation:
    """The language detector and the transformer at work for one call.

    Attributes:
        model_calls: Texts that the transformer answered so far.
        model_seconds: Time spent on them, the detection included.
        retried: Texts that were tried again because a batch of them failed.
    """

    def __init__(
        self,
        classifier: Classifier,
        detector: LanguageDetector,
        provenance: Provenance,
        *,
        batch_tokens: int,
        refuse: Rule | None,
        progress: Progress | None = None,
    ) -> None:
        self._classifier = classifier
        self._detector = detector
        self._provenance = provenance
        self._batch_tokens = batch_tokens
        self._rule = refuse
        self._progress = progress
        self.model_calls = 0
        self.model_seconds = 0.0
        self.retried = 0

    def answer(self, texts: Sequence[str]) -> Generator[dict[int, Result], None, None]:
        """Answer or refuse each text; one that makes the model raise is refused alone.

        Yields:
            Some results at a time, by their places in `texts`, as the engine is done with them.

        Raises:
            Exception: What the model raises if it does on any text.
        """
        with closing(self._windows(texts)) as windows:
            while True:
                started = time.perf_counter()
                results = next(windows, None)
                self.model_seconds += time.perf_counter() - started
                if results is None:
                    return
                self.model_calls += sum(isinstance(result, Answer) for result in results.values())
                yield results

    def refuse(self, language: Language) -> Refusal | None:
        """Return the refusal of a text in this language, or None if the rule lets it pass."""
        reason = self._rule(language) if self._rule else ""
        return Refusal("language", reason, self._provenance, language) if reason else None

    def _windows(self, texts: Sequence[str]) -> Generator[dict[int, Result], None, None]:
        """Take on a window while the engine has the one before."""
        waiting: deque[_Window] = deque()
        try:
            for start in range(0, len(texts), _WINDOW):
                waiting.append(self._start_window(start, texts[start : start + _WINDOW]))
                if len(waiting) == 2:
                    yield from self._collect_window(waiting[0])
                    waiting.popleft()
            for window in waiting:
                yield from self._collect_window(window)
        finally:
            for window in waiting:
                for batch in window.batches:
                    batch.cancel()

    def _start_window(self, start: int, texts: Sequence[str]) -> _Window:
        if self._rule is None:  # no text has to wait for its language
            batches = self._submit(texts)
            return _Window(start, texts, self._languages(texts), range(len(texts)), batches)
        languages = self._languages(texts)
        accepted = [place for place, found in enumerate(languages) if isinstance(found, Language)]
        batches = self._submit([texts[place] for place in accepted])
        return _Window(start, texts, languages, accepted, batches)

    def _collect_window(self, window: _Window) -> Iterator[dict[int, Result]]:
        results: dict[int, Result] = {
            window.start + place: found
            for place, found in enumerate(window.languages)
            if isinstance(found, Refusal)
        }
        for places, predictions in self._predictions(window):
            for place, prediction in zip(places, predictions, strict=True):
                language = window.languages[place]
                if isinstance(language, Language):
                    results[window.start + place] = self._respond(prediction, language)
            if len(results) >= _RESULTS:
                yield results
                results = {}
        yield results

    def _predictions(
        self, window: _Window
    ) -> Iterator[tuple[list[int], Sequence[Prediction | Failure]]]:
        """Yield what becomes of the accepted texts, with their places in the window."""
        left = set(window.accepted)
        for batch in window.batches:
            places = [window.accepted[place] for place in batch.places]
            try:
                predictions = batch.predictions()
            except BaseException as error:
                if not is_failure(error):
                    raise
            else:
                left.difference_update(places)
                yield places, predictions
                if self._progress:
                    self._progress(len(places))
        if left:
            self.retried += len(left)
            logger.warning("%d texts are tried again: a batch of them failed", len(left))
            # What ails the whole process, as a lack of memory, must not be held against a text:
            # either the probe raises as well, or the texts get another chance.
            self._predict([_PROBE])
            places = sorted(left)
            yield places, bisect_failures(self._predict, [window.texts[place] for place in places])

    def _submit(self, texts: Sequence[str]) -> list[Batch]:
        """Hand texts to the engine; none if the tokenizer raises on one of them."""
        try:
            return self._classifier.submit(texts, self._batch_tokens)
        except BaseException as error:
            if not is_failure(error):
                raise
            return []

    def _languages(self, texts: Sequence[str]) -> list[Language | Refusal]:
        return [self._accept(found) for found in bisect_failures(self._detect, texts)]

    def _detect(self, texts: Sequence[str]) -> list[Language]:
        return [self._detector.detect(text) for text in texts]

    def _predict(self, texts: Sequence[str]) -> list[Prediction]:
        return self._classifier.predict(texts, self._batch_tokens)

    def _accept(self, found: Language | Failure) -> Language | Refusal:
        if isinstance(found, Failure):
            return Refusal("language", _failed(found), self._provenance)
        return self.refuse(found) or found

    def _respond(self, prediction: Prediction | Failure, language: Language) -> Result:
        if isinstance(prediction, Failure):
            return Refusal("predict", _failed(prediction), self._provenance, language)
        if not math.isfinite(prediction.score):
            return Refusal("predict", "the model's score is no number", self._provenance, language)
        return Answer(prediction, language, self._provenance)


def _failed(failure: Failure) -> str:
    return f"the model failed ({failure.error})"
