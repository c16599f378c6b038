"""The inference pipeline of a model: cache look-up, language detection, prediction, response."""

import logging
import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import pandas as pd

from .batching import MAX_BATCH_TOKENS
from .cache.cache import PredictionCache
from .cache.contents import count_stored_texts
from .cache.single_flight import Claims, InFlight
from .composition.composition import Composition
from .contract import CONTRACT, Answer, Answers, Outcome, Refusal, to_json
from .detectors.detector import LanguageDetector
from .errors import PredictParameterError
from .inference import Call, Computation, Progress, Rule

logger = logging.getLogger("pyfunc.pipeline")

# A tokenizer needs 430 bytes a character; a longer field comes from an unclosed quote in a file.
MAX_CHARACTERS = 1_000_000

_BLANK = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})  # Unicode categories


class InferencePipeline:
    """Cache look-up, language detection, prediction, response, cache store: in that order.

    Attributes:
        contract: Version of this API.
        offers_all_scores: Whether `answer` takes `all_scores`; some earlier code does not.
        is_composed: Whether there is more than a single member, so that answers name who decided.
        fingerprint: Digest of all that can change an answer.
        labels: The labels, in the order of the classifier's outputs.
        detector: What detects the language of a text.
        variant: Engine and precision of the first member.
        device: What the first member computes on, `cpu` or `cuda`.
        engines: The engine of each member, by its name.
        provenance: That of a refusal.
        fallback: Why another variant than the first is used, or an empty string.
    """

    contract = CONTRACT
    offers_all_scores = True

    def __init__(
        self,
        composition: Composition,
        detector: LanguageDetector,
        cache: PredictionCache,
        *,
        fallback: str = "",
    ) -> None:
        self._composition = composition
        self.provenance = composition.provenance
        self.detector = detector
        self._cache = cache
        self._in_flight: InFlight[Outcome] = InFlight()
        self._in_flight_with_scores: InFlight[Outcome] = InFlight()
        self.is_composed = composition.is_composed
        self.fingerprint = cache.fingerprint
        self.labels = composition.labels
        self.variant = composition.variant
        self.device = composition.device
        self.engines = composition.engines
        self.fallback = fallback

    def predict(
        self,
        texts: Sequence[object],
        *,
        use_cache: bool,
        batch_tokens: int,
        all_scores: bool = False,
    ) -> list[str]:
        """Return one JSON document a row; the arguments are those of `answer`."""
        answers = self.answer(
            texts, use_cache=use_cache, batch_tokens=batch_tokens, all_scores=all_scores
        )
        return [to_json(document) for document in self.documents(answers)]

    def documents(self, answers: Answers) -> list[dict[str, Any]]:
        """Return the document of each row of what `answer` returned."""
        return [outcome.document() for outcome in answers.outcomes]

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
        """Answer or refuse each row, in the order given; no row makes another fail.

        Args:
            texts: Rows of any type; each one that is no text, empty, or not UTF-8 is refused.
            use_cache: Whether answers are looked up, shared by equal rows and by concurrent
                threads, and stored.
            batch_tokens: Padded tokens in a batch at most.
            all_scores: Whether each answer has the probability of every label. An answer without
                them in the cache is computed again.
            refuse: Returns the reason to refuse texts of a language, or an empty string. Such a
                text is neither predicted nor answered from the cache.
            progress: Called after each batch with its number of texts, in the calling thread.

        Raises:
            PredictParameterError: If `batch_tokens` is out of bounds.
            Exception: If the model raises on every text, as without memory, or `progress` raises.
        """
        check_batch_tokens(batch_tokens)
        reasons = [refusal_reason(text) for text in texts]
        valid = [str(text) for text, reason in zip(texts, reasons, strict=True) if not reason]
        call = Call(batch_tokens, all_scores, refuse, progress)
        work = Computation(self._composition, self.detector, call)
        failures = self._cache.failures_of_thread
        answer = self._answer_with_cache if use_cache else _answer_without_cache
        found = iter(answer(valid, work))
        outcomes = [
            Outcome.of(Refusal("validate", reason, self._composition.provenance), "refused")
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

    @property
    def waiting(self) -> int:
        """Texts that wait for an engine."""
        return sum(queue.waiting for queue in self._composition.queues)

    def watch_batches(self, listener: Callable[[int], None]) -> None:
        """Call a function with the number of texts of each batch, in the threads of the engines."""
        for queue in self._composition.queues:
            queue.watch(listener)

    def count_stored(self, texts: Iterable[str], *, all_scores: bool = False) -> int:
        """Return how many of the texts the prediction cache answers; `all_scores` as above."""
        return count_stored_texts(
            self._cache.folder, self.fingerprint, texts, all_scores=all_scores
        )

    def _answer_with_cache(self, texts: list[str], work: Computation) -> list[Outcome]:
        """Return an outcome a text; each distinct text is looked up or computed once."""
        outcomes: dict[str, Outcome] = {}
        in_flight = self._in_flight_with_scores if work.all_scores else self._in_flight
        # Another round for texts that another thread had claimed, and then refused or abandoned.
        while rest := [text for text in dict.fromkeys(texts) if text not in outcomes]:
            with in_flight.claim(rest) as claims:
                outcomes |= self._resolve_claims(claims, work)
            outcomes |= {
                text: _apply_rule(found.as_repeated(), work)
                for text, found in claims.wait().items()
            }
        rows = []
        for text in texts:
            rows.append(outcomes[text])
            outcomes[text] = outcomes[text].as_repeated()
        return rows

    def _resolve_claims(self, claims: Claims[Outcome], work: Computation) -> dict[str, Outcome]:
        cached = {
            text: Outcome.of(answer, "cached")
            for text, answer in self._stored_answers(claims.owned, work.all_scores).items()
        }
        claims.resolve(cached)
        outcomes = {text: _apply_rule(outcome, work) for text, outcome in cached.items()}
        rest = [text for text in claims.owned if text not in cached]
        for results in work.answer(rest):
            computed = {rest[i]: Outcome.of(found, "computed") for i, found in results.items()}
            answers = {text: found.answer for text, found in computed.items() if found.answer}
            self._cache.store_many(answers)
            claims.resolve({text: computed[text] for text in answers})
            outcomes |= computed
        return outcomes

    def _stored_answers(self, texts: Sequence[str], all_scores: bool) -> dict[str, Answer]:
        stored = self._cache.get_many(texts)
        if all_scores:
            return {text: a for text, a in stored.items() if a.prediction.scores is not None}
        return {text: answer.without_scores() for text, answer in stored.items()}


def refusal_reason(text: object) -> str:
    """Return why the pipeline refuses `text`, or an empty string."""
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


def _answer_without_cache(texts: list[str], work: Computation) -> list[Outcome]:
    found = dict(chain.from_iterable(results.items() for results in work.answer(texts)))
    return [Outcome.of(found[index], "computed") for index in range(len(texts))]


def _apply_rule(outcome: Outcome, work: Computation) -> Outcome:
    """Replace an answer by a refusal if the caller's rule refuses its language."""
    if outcome.answer and (refusal := work.refuse(outcome.answer.language)):
        return Outcome.of(refusal, "refused")
    return outcome


def _log_other_languages(outcomes: list[Outcome]) -> None:
    codes = [outcome.language.code for outcome in outcomes if outcome.language]
    if others := sum(code != "en" for code in codes):
        logger.debug("%d of %d texts are not English", others, len(codes))


def check_batch_tokens(batch_tokens: int) -> None:
    """Check that a batch may have so many padded tokens.

    Raises:
        PredictParameterError: If not.
    """
    if not 1 <= batch_tokens <= MAX_BATCH_TOKENS:
        raise PredictParameterError(
            f"batch_tokens: expected 1 to {MAX_BATCH_TOKENS}, got {batch_tokens}"
        )
