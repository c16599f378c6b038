"""The two pipelines that a model can hold, and how they are opened."""

import logging
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from .batching import DEFAULT_BATCH_TOKENS
from .cache.cache import PredictionCache
from .cache.contents import stored_keys
from .cache.settings import prediction_cache_folder, prediction_cache_size_limit
from .cache.single_flight import Claims, InFlight
from .classifier import Classifier
from .contract import CONTRACT, Answer, Answers, Outcome, Provenance, Refusal
from .engines.selection import open_fastest
from .errors import PredictParameterError
from .fingerprint import fingerprint_pipeline
from .inference import Computation, Progress, Rule
from .language import LanguageDetector
from .spec import PipelineSpec

logger = logging.getLogger("pyfunc.pipeline")

# A tokenizer needs 430 bytes a character; a field this long is a file with a quote unclosed.
MAX_CHARACTERS = 1_000_000

_BLANK = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})  # Unicode categories: nothing to see


class InferencePipeline:
    """Cache look-up, language, prediction, response, cache store: in that order.

    Attributes:
        contract: The version of what a program may rely on that calls `answer`.
        fingerprint: Digest of all that can change an answer.
        labels: The labels that it answers with, in the order of the classifier's outputs.
        variant: How the transformer is computed.
        device: Where: `cpu` or `cuda`.
        fallback: Why not by the variant that it was built for, or an empty string.
    """

    contract = CONTRACT

    def __init__(
        self,
        classifier: Classifier,
        detector: LanguageDetector,
        cache: PredictionCache,
        provenance: Provenance,
        *,
        fallback: str = "",
    ) -> None:
        self._classifier = classifier
        self._detector = detector
        self._cache = cache
        self._provenance = provenance
        self._in_flight: InFlight[Outcome] = InFlight()
        self.fingerprint = cache.fingerprint
        self.labels = classifier.labels
        self.variant = classifier.engine.variant
        self.device = classifier.engine.device
        self.fallback = fallback

    def predict(self, texts: Sequence[object], *, use_cache: bool, batch_tokens: int) -> list[str]:
        """Return one JSON document a row: those of `answer`, which says what they depend on."""
        answers = self.answer(texts, use_cache=use_cache, batch_tokens=batch_tokens)
        return [outcome.to_document() for outcome in answers.outcomes]

    def answer(
        self,
        texts: Sequence[object],
        *,
        use_cache: bool,
        batch_tokens: int,
        refuse: Rule | None = None,
        progress: Progress | None = None,
    ) -> Answers:
        """Answer or refuse each row, in the order given; no row makes another fail.

        Args:
            texts: Anything; what is not text, empty, or not UTF-8 is refused by name.
            use_cache: Whether answers are looked up, shared by equal rows and by threads that
                ask at the same time, and stored.
            batch_tokens: Padded tokens that go through the transformer at once, at most.
            refuse: Returns why texts of a language are to be refused, or an empty string. Such
                a text is neither predicted nor, if its answer is cached, answered.
            progress: Called after each batch with the number of texts that it held, in the
                thread that asks; what it raises ends the call.

        Raises:
            PredictParameterError: If `batch_tokens` is below 1.
            Exception: What the model raises if it fails on any text, as without memory, and
                what `progress` raises.
        """
        _check_batch_tokens(batch_tokens)
        reasons = [reason_to_refuse(text) for text in texts]
        valid = [str(text) for text, reason in zip(texts, reasons, strict=True) if not reason]
        work = Computation(
            self._classifier,
            self._detector,
            self._provenance,
            batch_tokens=batch_tokens,
            refuse=refuse,
            progress=progress,
        )
        failures = self._cache.failures_of_thread
        found = iter(self._share(valid, work) if use_cache else _compute(valid, work))
        outcomes = [
            Outcome.of(Refusal("validate", reason, self._provenance), "refused")
            if reason
            else next(found)
            for reason in reasons
        ]
        _log_other_languages(outcomes)
        return Answers(
            outcomes=outcomes,
            model_calls=work.model_calls,
            model_seconds=work.model_seconds,
            cache_failures=self._cache.failures_of_thread - failures,
            retried=work.retried,
        )

    def count_stored(self, texts: Iterable[str]) -> int:
        """Return how many of the texts the prediction cache has an entry for."""
        return stored_keys(self._cache.folder, self.fingerprint, texts)

    def _share(self, texts: list[str], work: Computation) -> list[Outcome]:
        """Return an outcome a text; each distinct text is looked up or computed once."""
        outcomes: dict[str, Outcome] = {}
        # A second round is for what another thread had claimed and then refused or given up.
        while rest := [text for text in dict.fromkeys(texts) if text not in outcomes]:
            with self._in_flight.claim(rest) as claims:
                outcomes |= self._settle(claims, work)
            outcomes |= {
                text: _judge(outcome.again(), work) for text, outcome in claims.wait().items()
            }
        rows = []
        for text in texts:
            rows.append(outcomes[text])
            outcomes[text] = outcomes[text].again()
        return rows

    def _settle(self, claims: Claims[Outcome], work: Computation) -> dict[str, Outcome]:
        cached = {
            text: Outcome.of(answer, "cached")
            for text, answer in self._cache.get_many(claims.mine).items()
        }
        claims.settle(cached)
        outcomes = {text: _judge(outcome, work) for text, outcome in cached.items()}
        rest = [text for text in claims.mine if text not in cached]
        for results in work.answer(rest):
            answers = {
                rest[place]: found for place, found in results.items() if isinstance(found, Answer)
            }
            self._cache.store_many(answers)
            computed = {
                rest[place]: Outcome.of(found, "computed") for place, found in results.items()
            }
            claims.settle({text: computed[text] for text in answers})
            outcomes |= computed
        return outcomes


class PlainPipeline:
    """The classifier alone: a text in, its label out."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def predict(
        self,
        texts: Sequence[object],
        *,
        use_cache: bool = False,
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
    ) -> list[str]:
        """Return one label a row, in the order given.

        Args:
            texts: Texts.
            use_cache: Ignored; both pipelines are called alike, this one has no cache.
            batch_tokens: Padded tokens that go through the transformer at once, at most.

        Raises:
            PredictParameterError: If a row is not a text that can be predicted, or
                `batch_tokens` is below 1.
        """
        _check_batch_tokens(batch_tokens)
        for row, text in enumerate(texts):
            if reason := reason_to_refuse(text):
                raise PredictParameterError(f"row {row}: expected a text, got: {reason}")
        predictions = self._classifier.predict([str(text) for text in texts], batch_tokens)
        return [prediction.label for prediction in predictions]


def open_pipeline(
    folder: Path, *, model_uri: str, model_config: Mapping[str, Any] | None = None
) -> InferencePipeline | PlainPipeline:
    """Load the pipeline that `folder` holds.

    Args:
        folder: The artifact: `pipeline.json`, `classifier/` and `pyfunc/` (this code).
        model_uri: The MLflow URI of the model that the artifact belongs to.
        model_config: Settings of this load: `cache_dir`, `cache_size_limit` (bytes).

    Raises:
        ArtifactError: If a file is missing or cannot be used.
        SettingError: If the size limit of the cache is out of bounds.
    """
    spec = PipelineSpec.read(folder)
    engine, fallback = open_fastest(folder, spec.variants)
    if fallback:
        logger.warning("%s answers (%s)", engine.variant, fallback)
    classifier = Classifier(folder / "classifier", engine, max_tokens=spec.max_tokens)
    if spec.kind == "plain":
        return PlainPipeline(classifier)
    cache = PredictionCache(
        prediction_cache_folder(model_config),
        fingerprint_pipeline(folder, spec.max_tokens, engine),
        size_limit=prediction_cache_size_limit(model_config),
    )
    provenance = Provenance(spec.finetuned_model_uri, model_uri)
    return InferencePipeline(classifier, LanguageDetector(), cache, provenance, fallback=fallback)


def reason_to_refuse(text: object) -> str:
    """Return why `text` cannot be answered, or an empty string."""
    if text is None or text is pd.NA or (isinstance(text, float) and math.isnan(text)):
        return "null"
    if not isinstance(text, str):
        return f"not text but {type(text).__name__}"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "not encodable as UTF-8"
    if len(text) > MAX_CHARACTERS:
        return f"longer than {MAX_CHARACTERS} characters"
    blank = all(unicodedata.category(character) in _BLANK for character in text)
    return "empty" if blank else ""


def _compute(texts: list[str], work: Computation) -> list[Outcome]:
    found = dict(chain.from_iterable(results.items() for results in work.answer(texts)))
    return [Outcome.of(found[place], "computed") for place in range(len(texts))]


def _judge(outcome: Outcome, work: Computation) -> Outcome:
    """Refuse an answer that the caller's rule does not let pass."""
    if outcome.answer and (refusal := work.refuse(outcome.answer.language)):
        return Outcome.of(refusal, "refused")
    return outcome


def _log_other_languages(outcomes: list[Outcome]) -> None:
    codes = [outcome.language.code for outcome in outcomes if outcome.language]
    if others := sum(code != "en" for code in codes):
        logger.info("%d of %d texts are not English", others, len(codes))


def _check_batch_tokens(batch_tokens: int) -> None:
    if batch_tokens < 1:
        raise PredictParameterError(f"batch_tokens: expected 1 or more, got {batch_tokens}")
