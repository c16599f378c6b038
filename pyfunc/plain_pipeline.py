"""The pipeline of a classifier alone, without cache and language detection."""

from collections.abc import Sequence

from .batching import DEFAULT_BATCH_TOKENS
from .classifier import Classifier
from .errors import PredictParameterError
from .pipeline import check_batch_tokens, refusal_reason


class PlainPipeline:
    """The classifier alone: texts in, labels out."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def predict(
        self,
        texts: Sequence[object],
        *,
        use_cache: bool = False,
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
        all_scores: bool = False,
    ) -> list[str]:
        """Return one label a row, in the order given.

        Args:
            texts: Texts.
            use_cache: Ignored; for the interface of both pipelines.
            batch_tokens: Padded tokens in a batch at most.
            all_scores: For the interface of both pipelines; refused.

        Raises:
            PredictParameterError: If a row is no valid text, `batch_tokens` is out of bounds, or
                `all_scores` is asked for.
        """
        check_batch_tokens(batch_tokens)
        if all_scores:
            raise PredictParameterError(
                "all_scores: expected false, since a plain pipeline answers with labels alone"
            )
        for row, text in enumerate(texts):
            if reason := refusal_reason(text):
                raise PredictParameterError(f"row {row}: expected a text, got: {reason}")
        predictions = self._classifier.predict([str(text) for text in texts], batch_tokens)
        return [prediction.label for prediction in predictions]
