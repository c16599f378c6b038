"""Language and prediction: what a row costs that no cache answers."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, repeat

from .classifier import Classifier
from .contract import Answer, Language, Prediction, Provenance, Refusal
from .isolating import Failure, isolate
from .language import LanguageDetector

Rule = Callable[[Language], str]
Result = Answer | Refusal

_Work = Callable[[Sequence[str]], list[Prediction | Failure]]
_Submit = Callable[[_Work, Sequence[str]], Future[list[Prediction | Failure]]]

_PROBE = "."  # a text that any model can read

# Texts that are taken on together: enough that their order by length leaves little to pad, and
# few enough that memory does not grow with the call. The first are fewer: until their languages
# are known, the transformer has nothing to do.
_WINDOWS = (128, 1_024, 2_048)


@dataclass(frozen=True, slots=True)
class _Window:
    """Texts whose languages are known; `predicted` has those that are not refused for theirs."""

    texts: Sequence[str]
    languages: list[Language | Refusal]
    predicted: Future[list[Prediction | Failure]]


class Computation:
    """The language detector and the transformer at work for one call.

    Attributes:
        model_calls: Texts that the transformer answered so far.
        model_seconds: Time spent on them, the detection included.
    """

    def __init__(
        self,
        classifier: Classifier,
        detector: LanguageDetector,
        provenance: Provenance,
        *,
        batch_tokens: int,
        refuse: Rule | None,
    ) -> None:
        self._classifier = classifier
        self._detector = detector
        self._provenance = provenance
        self._batch_tokens = batch_tokens
        self._rule = refuse
        self.model_calls = 0
        self.model_seconds = 0.0

    def answer(self, texts: Sequence[str]) -> Iterator[list[tuple[str, Result]]]:
        """Answer or refuse each text; one that makes the model raise is refused alone.

        Yields:
            Some texts with their results at a time, in their order.

        Raises:
            Exception: What the model raises if it does on any text.
        """
        windows = self._windows(texts)
        while True:
            started = time.perf_counter()
            results = next(windows, None)
            self.model_seconds += time.perf_counter() - started
            if results is None:
                return
            self.model_calls += sum(isinstance(result, Answer) for _, result in results)
            yield results

    def refuse(self, language: Language) -> Refusal | None:
        """Return the refusal of a text in this language, or None if the rule lets it pass."""
        reason = self._rule(language) if self._rule else ""
        return Refusal("language", reason, self._provenance, language) if reason else None

    def _windows(self, texts: Sequence[str]) -> Iterator[list[tuple[str, Result]]]:
        """Detect the languages of a window while the transformer has the one before."""
        if len(texts) <= _WINDOWS[0]:
            yield self._finished(self._begun(texts, _at_once))
            return
        # Two threads: the streams get a window's first batches before they run out of the last
        # ones of the window before.
        with ThreadPoolExecutor(2, thread_name_prefix="predict") as ahead:
            waiting: deque[_Window] = deque()
            try:
                for window in _cut(texts):
                    waiting.append(self._begun(window, ahead.submit))
                    if len(waiting) == 2:
                        yield self._finished(waiting.popleft())
                while waiting:
                    yield self._finished(waiting.popleft())
            finally:
                ahead.shutdown(cancel_futures=True)

    def _begun(self, texts: Sequence[str], submit: _Submit) -> _Window:
        languages = [self._accept(found) for found in isolate(self._detect, texts)]
        accepted = [
            text
            for text, language in zip(texts, languages, strict=True)
            if isinstance(language, Language)
        ]
        return _Window(texts, languages, submit(self._predictions, accepted))

    def _finished(self, window: _Window) -> list[tuple[str, Result]]:
        predictions = iter(window.predicted.result())
        results = (
            language
            if isinstance(language, Refusal)
            else self._respond(next(predictions), language)
            for language in window.languages
        )
        return list(zip(window.texts, results, strict=True))

    def _predictions(self, texts: Sequence[str]) -> list[Prediction | Failure]:
        results = isolate(self._predict, texts)
        failed = [place for place, result in enumerate(results) if isinstance(result, Failure)]
        if failed:
            # What ails the whole process, as a lack of memory, must not be held against a text:
            # either the probe raises as well, or the texts get another chance.
            self._predict([_PROBE])
            again = isolate(self._predict, [texts[place] for place in failed])
            for place, result in zip(failed, again, strict=True):
                results[place] = result
        return results

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


def _at_once(work: _Work, texts: Sequence[str]) -> Future[list[Prediction | Failure]]:
    future: Future[list[Prediction | Failure]] = Future()
    future.set_result(work(texts))
    return future


def _cut(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    sizes, start = chain(_WINDOWS, repeat(_WINDOWS[-1])), 0
    while start < len(texts):
        size = next(sizes)
        yield texts[start : start + size]
        start += size


def _failed(failure: Failure) -> str:
    return f"the model failed ({failure.error})"
