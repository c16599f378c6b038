"""Pipelines of the contract before, with the API that today's code calls."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from pyfunc.contract import (
    CONTRACT,
    Answer,
    Answers,
    Language,
    Outcome,
    Prediction,
    Provenance,
    Refusal,
)
from pyfunc.detectors.detector import LanguageDetector
from pyfunc.detectors.selection import open_detector
from pyfunc.inference import Progress, Rule

EARLIER_CONTRACT = 3


class EarlierPipeline:
    """A loaded pipeline of contract 3, with the API of `pyfunc.pipeline.InferencePipeline`.

    It has a single model, so that its answers name no members. Its classes are those of the code
    that the version ships; here they become those of today.
    """

    contract = CONTRACT
    is_composed = False

    def __init__(self, pipeline: Any) -> None:
        """Take the pipeline inside a loaded model."""
        self._pipeline = pipeline
        # The first versions of this contract have no scores of every label.
        self.offers_all_scores: bool = getattr(pipeline, "offers_all_scores", False)
        self.fingerprint: str = pipeline.fingerprint
        self.labels: list[str] = pipeline.labels
        self.variant = pipeline.variant
        self.device: str = pipeline.device
        self.fallback: str = pipeline.fallback

    @cached_property
    def detector(self) -> LanguageDetector:
        """What detects the language of a text."""
        return open_detector("gcld3")

    def answer(
        self,
        texts: Sequence[object],
        *,
        use_cache: bool,
        batch_tokens: int,
        all_scores: bool = False,
        refuse: Rule | None = None,
        progress: Progress | None = None,
    ) -> Answers:
        """Answer or refuse each row; arguments and errors are those of `InferencePipeline`."""
        found = self._pipeline.answer(
            texts,
            use_cache=use_cache,
            batch_tokens=batch_tokens,
            refuse=refuse,
            progress=progress,
            **_asked(all_scores),
        )
        return Answers(
            outcomes=[_convert_outcome(outcome) for outcome in found.outcomes],
            model_calls=found.model_calls,
            model_seconds=found.model_seconds,
            cache_failures=found.cache_failures,
            retried=found.retried,
        )

    def count_stored(self, texts: Iterable[str], *, all_scores: bool = False) -> int:
        """Return how many of the texts the prediction cache answers."""
        stored: int = self._pipeline.count_stored(texts, **_asked(all_scores))
        return stored


def _asked(all_scores: bool) -> dict[str, bool]:
    return {"all_scores": True} if all_scores else {}


def _convert_outcome(outcome: Any) -> Outcome:
    answer, refusal = outcome.answer, outcome.refusal
    if answer is not None:
        return Outcome.of(_convert_answer(answer), outcome.source)
    language = refusal.language and _convert_language(refusal.language)
    provenance = _convert_provenance(refusal.provenance)
    return Outcome.of(Refusal(refusal.step, refusal.reason, provenance, language), "refused")


def _convert_answer(answer: Any) -> Answer:
    found = answer.prediction
    scores = getattr(found, "scores", None)
    prediction = Prediction(found.label, found.score, found.truncated, scores)
    language = _convert_language(answer.language)
    return Answer(prediction, language, _convert_provenance(answer.provenance))


def _convert_language(found: Any) -> Language:
    return Language(found.code, found.reliable, found.probability)


def _convert_provenance(found: Any) -> Provenance:
    return Provenance(found.finetuned_model_uri, found.inference_pipeline_model_uri)
