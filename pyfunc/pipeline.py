"""The two pipelines that a model can hold, and how they are opened."""

import logging
import math
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from .cache import PredictionCache
from .classifier import DEFAULT_BATCH_TOKENS, Classifier
from .contract import Answer, Provenance, Refusal
from .errors import PredictParameterError
from .fingerprint import fingerprint_pipeline
from .language import LanguageDetector
from .settings import prediction_cache_folder
from .spec import PipelineSpec

logger = logging.getLogger("pyfunc.pipeline")

# A tokenizer needs 430 bytes a character; a field this long is a file with a quote unclosed.
MAX_CHARACTERS = 1_000_000

_BLANK = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})  # Unicode categories: nothing to see


class InferencePipeline:
    """Cache look-up, language, prediction, response, cache store: in that order."""

    def __init__(
        self,
        classifier: Classifier,
        detector: LanguageDetector,
        cache: PredictionCache,
        provenance: Provenance,
    ) -> None:
        self._classifier = classifier
        self._detector = detector
        self._cache = cache
        self._provenance = provenance

    def predict(self, texts: Sequence[object], *, use_cache: bool, batch_tokens: int) -> list[str]:
        """Return one JSON document a row, in the order given; no row makes another fail.

        Args:
            texts: Anything; what is not text, empty, or not UTF-8 is refused by name.
            use_cache: Whether answers are looked up, shared by equal rows, and stored.
            batch_tokens: Padded tokens that go through the transformer at once, at most.

        Raises:
            PredictParameterError: If `batch_tokens` is below 1.
        """
        _check_batch_tokens(batch_tokens)
        reasons = [reason_to_refuse(text) for text in texts]
        valid = [str(text) for text, reason in zip(texts, reasons, strict=True) if not reason]
        answer = self._answer_with_cache if use_cache else self._answer_without_cache
        documents = iter(answer(valid, batch_tokens))
        return [
            Refusal("validate", reason, self._provenance).to_document()
            if reason
            else next(documents)
            for reason in reasons
        ]

    def _answer_with_cache(self, texts: list[str], batch_tokens: int) -> list[str]:
        answers = self._cache.get_many(dict.fromkeys(texts))
        missing = [text for text in dict.fromkeys(texts) if text not in answers]
        computed = dict(zip(missing, self._compute(missing, batch_tokens), strict=True))
        self._cache.store_many(computed)
        answers |= computed
        self._log_other_languages([answers[text] for text in texts])

        # The first row of a computed text paid for it; the equal rows after it did not.
        documents = []
        for text in texts:
            documents.append(answers[text].to_document(cached=text not in computed))
            computed.pop(text, None)
        return documents

    def _answer_without_cache(self, texts: list[str], batch_tokens: int) -> list[str]:
        answers = self._compute(texts, batch_tokens)
        self._log_other_languages(answers)
        return [answer.to_document(cached=False) for answer in answers]

    def _compute(self, texts: list[str], batch_tokens: int) -> list[Answer]:
        languages = [self._detector.detect(text) for text in texts]
        predictions = self._classifier.predict(texts, batch_tokens)
        return [
            Answer(prediction, language, self._provenance)
            for prediction, language in zip(predictions, languages, strict=True)
        ]

    @staticmethod
    def _log_other_languages(answers: list[Answer]) -> None:
        others = sum(answer.language.code != "en" for answer in answers)
        if others:
            logger.info("%d of %d texts are not English", others, len(answers))


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
        model_config: Settings of this load: `cache_dir`.

    Raises:
        ArtifactError: If a file is missing or cannot be used.
    """
    spec = PipelineSpec.read(folder)
    classifier = Classifier(
        folder / "classifier", max_tokens=spec.max_tokens, precision=spec.precision
    )
    if spec.kind == "plain":
        return PlainPipeline(classifier)
    fingerprint = fingerprint_pipeline(folder / "pyfunc", folder / "classifier", spec)
    return InferencePipeline(
        classifier,
        LanguageDetector(),
        PredictionCache(prediction_cache_folder(model_config), fingerprint),
        Provenance(spec.finetuned_model_uri, model_uri),
    )


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


def _check_batch_tokens(batch_tokens: int) -> None:
    if batch_tokens < 1:
        raise PredictParameterError(f"batch_tokens: expected 1 or more, got {batch_tokens}")
