"""Language detection and prediction for texts without a cached answer, in overlapping windows."""

import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from .bisection import Failure, bisect_failures
from .composition.composition import Composition
from .composition.evaluation import Decided, Evaluation
from .contract import Answer, Language, Refusal
from .detectors.detector import LanguageDetector

Rule = Callable[[Language], str]
Progress = Callable[[int], None]
Result = Answer | Refusal

# Texts submitted together: enough that batches of equal length need little padding, few enough
# that memory does not grow with the call.
_WINDOW_TEXTS = 2_048

# Results yielded together: enough for one transaction of the cache, few enough that little remains
# to store when the engine is done.
_YIELDED_RESULTS = 256


@dataclass(frozen=True, slots=True)
class Call:
    """What a call asks for.

    Attributes:
        batch_tokens: Padded tokens in a batch at most.
        all_scores: Whether each answer has the probability of every label.
        refuse: Returns the reason to refuse texts of a language, or an empty string.
        progress: Called after each batch with its number of texts.
    """

    batch_tokens: int
    all_scores: bool = False
    refuse: Rule | None = None
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class _Window:
    """Texts that are evaluated together.

    Attributes:
        start: Index of the first text in the call.
        languages: The languages or refusals of the texts.
        accepted: Indices of those that are to be answered.
        evaluation: Of their members.
    """

    start: int
    languages: list[Language | Refusal]
    accepted: Sequence[int]
    evaluation: Evaluation


class Computation:
    """Language detection and prediction of one call.

    Attributes:
        all_scores: Whether each answer has the probability of every label.
        model_calls: Texts that the transformer answered so far.
        model_seconds: Time spent on them, language detection included.
        retried: Texts that were retried because their batch failed.
    """

    def __init__(self, composition: Composition, detector: LanguageDetector, call: Call) -> None:
        self._composition = composition
        self._detector = detector
        self._provenance = composition.provenance
        self._call = call
        self.all_scores = call.all_scores
        self.model_calls = 0
        self.model_seconds = 0.0
        self.retried = 0

    def answer(self, texts: Sequence[str]) -> Generator[dict[int, Result], None, None]:
        """Answer or refuse each text; a text that makes the model raise is refused alone.

        Yields:
            Results by index in `texts`, as they are computed.

        Raises:
            Exception: If the model raises on every text.
        """
        with closing(self._run_windows(texts)) as windows:
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
        reason = self._call.refuse(language) if self._call.refuse else ""
        return Refusal("language", reason, self._provenance, language) if reason else None

    def _run_windows(self, texts: Sequence[str]) -> Generator[dict[int, Result], None, None]:
        """Submit each window before the results of the previous one are collected.

        Members of the previous one compute while the languages of the next are detected.
        """
        pending: deque[_Window] = deque()
        try:
            for start in range(0, len(texts), _WINDOW_TEXTS):
                for window in pending:
                    window.evaluation.advance()
                pending.append(self._start_window(start, texts[start : start + _WINDOW_TEXTS]))
                if len(pending) == 2:
                    yield from self._collect_window(pending[0])
                    pending.popleft()
            for window in pending:
                yield from self._collect_window(window)
        finally:
            for window in pending:
                window.evaluation.cancel()

    def _start_window(self, start: int, texts: Sequence[str]) -> _Window:
        evaluation = self._composition.evaluation(
            texts, batch_tokens=self._call.batch_tokens, all_scores=self._call.all_scores
        )
        if self._call.refuse is None and not self._composition.needs_languages:
            every = range(len(texts))
            evaluation.start(every, {})  # the engine computes during language detection
            return _Window(start, self._detect_languages(texts), every, evaluation)
        languages = self._detect_languages(texts)
        known = {row: found for row, found in enumerate(languages) if isinstance(found, Language)}
        evaluation.start(list(known), known)
        return _Window(start, languages, list(known), evaluation)

    def _collect_window(self, window: _Window) -> Iterator[dict[int, Result]]:
        results: dict[int, Result] = {
            window.start + index: found
            for index, found in enumerate(window.languages)
            if isinstance(found, Refusal)
        }
        for decisions in window.evaluation.decide(window.accepted):
            for index, decision in decisions.items():
                language = window.languages[index]
                if isinstance(language, Language):
                    results[window.start + index] = self._build_result(
                        decision, language, window.evaluation, index
                    )
            if self._call.progress and decisions:
                self._call.progress(len(decisions))
            if len(results) >= _YIELDED_RESULTS:
                yield results
                results = {}
        self.retried += window.evaluation.retried
        yield results

    def _detect_languages(self, texts: Sequence[str]) -> list[Language | Refusal]:
        return [self._apply_rule(found) for found in bisect_failures(self._detect_all, texts)]

    def _detect_all(self, texts: Sequence[str]) -> list[Language]:
        return [self._detector.detect(text) for text in texts]

    def _apply_rule(self, found: Language | Failure) -> Language | Refusal:
        if isinstance(found, Failure):
            return Refusal("language", _failure_reason(found), self._provenance)
        return self.refuse(found) or found

    def _build_result(
        self, decision: Decided, language: Language, evaluation: Evaluation, index: int
    ) -> Result:
        if isinstance(decision, Failure):
            return Refusal("predict", _failure_reason(decision), self._provenance, language)
        if not math.isfinite(decision.prediction.score):
            return Refusal("predict", "the model's score is no number", self._provenance, language)
        answer = self._composition.answer(decision, language, evaluation, index)
        # Parts that are mixed have them, whether the call asks for them or not.
        return answer if self.all_scores else answer.without_scores()


def _failure_reason(failure: Failure) -> str:
    return f"the model failed ({failure.error})"
