"""Language and prediction: what a row costs that no cache answers."""

import math
import time
from collections.abc import Callable, Sequence

from .classifier import Classifier
from .contract import Answer, Language, Prediction, Provenance, Refusal
from .isolating import Failure, isolate
from .language import LanguageDetector

Rule = Callable[[Language], str]

_PROBE = "."  # a text that any model can read


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

    def answer(self, texts: Sequence[str]) -> list[Answer | Refusal]:
        """Answer or refuse each text; one that makes the model raise is refused alone.

        Raises:
            Exception: What the model raises if it does on any text.
        """
        started = time.perf_counter()
        results = self._answer(texts)
        self.model_seconds += time.perf_counter() - started
        self.model_calls += sum(isinstance(result, Answer) for result in results)
        return results

    def refuse(self, language: Language) -> Refusal | None:
        """Return the refusal of a text in this language, or None if the rule lets it pass."""
        reason = self._rule(language) if self._rule else ""
        return Refusal("language", reason, self._provenance, language) if reason else None

    def _answer(self, texts: Sequence[str]) -> list[Answer | Refusal]:
        languages = [self._accept(found) for found in isolate(self._detect, texts)]
        accepted = [
            (text, language)
            for text, language in zip(texts, languages, strict=True)
            if isinstance(language, Language)
        ]
        predictions = self._predictions([text for text, _ in accepted])
        answers = iter(
            self._respond(prediction, language)
            for prediction, (_, language) in zip(predictions, accepted, strict=True)
        )
        return [
            language if isinstance(language, Refusal) else next(answers) for language in languages
        ]

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

    def _respond(self, prediction: Prediction | Failure, language: Language) -> Answer | Refusal:
        if isinstance(prediction, Failure):
            return Refusal("predict", _failed(prediction), self._provenance, language)
        if not math.isfinite(prediction.score):
            return Refusal("predict", "the model's score is no number", self._provenance, language)
        return Answer(prediction, language, self._provenance)


def _failed(failure: Failure) -> str:
    return f"the model failed ({failure.error})"
