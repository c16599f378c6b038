"""The output format of the pipeline: answers and refusals, one JSON document a row."""

import json
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self, TypeVar

# Version of the API of a loaded pipeline (`InferencePipeline.answer` and its types). A model ships
# its own copy of this code: raise the number with every change. Callers adapt the number before it
# (`tasks/tracking/contract_adapter.py`) and reject older models.
CONTRACT = 4

Source = Literal["computed", "repeated", "cached", "refused"]

Part = TypeVar("Part", "Prediction", "Language", "Provenance", "MemberAnswer")


@dataclass(frozen=True, slots=True)
class Language:
    """A detected language: `code` is its BCP-47 code, or `und` (undetermined)."""

    code: str
    reliable: bool
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The likeliest label of a text.

    Attributes:
        label: Its name.
        score: Its softmax probability.
        truncated: Whether the text was too long for the model.
        scores: The probability of each label by its name, or None if they were not asked for.
    """

    label: str
    score: float
    truncated: bool
    scores: dict[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """The MLflow URIs of the models that computed an answer."""

    finetuned_model_uri: str
    inference_pipeline_model_uri: str


@dataclass(frozen=True, slots=True)
class MemberAnswer:
    """What a member of a composed pipeline predicted of a text that it saw."""

    name: str
    uri: str
    label: str
    score: float


_TYPES = {
    kind: {field.name: field.type for field in fields(kind) if field.name != "scores"}
    for kind in (Prediction, Language, Provenance, MemberAnswer)
}


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a row.

    Attributes:
        prediction: The label and its score.
        language: The language of the text.
        provenance: The versions that computed it, cached or not; of a composed pipeline, the
            fine-tuned one is that of the member that decided.
        decided_by: The name of that member; empty if the pipeline is not composed.
        members: What each member that saw the text predicted; empty likewise.
    """

    prediction: Prediction
    language: Language
    provenance: Provenance
    decided_by: str = ""
    members: tuple[MemberAnswer, ...] = ()

    def to_record(self) -> str:
        """Return the JSON that the prediction cache stores."""
        return to_json(
            {
                "prediction": _fields_of(self.prediction) | self._scores_as("scores"),
                "language": _fields_of(self.language),
                "provenance": _fields_of(self.provenance),
                **self._composition(),
            }
        )

    @classmethod
    def from_record(cls, record: str) -> Self:
        """Read what `to_record` wrote.

        Raises:
            ValueError: If the record is something else.
        """
        try:
            parts = json.loads(record)
            return cls(
                prediction=_parse_prediction(parts["prediction"]),
                language=_parse(Language, parts["language"]),
                provenance=_parse(Provenance, parts["provenance"]),
                decided_by=_parse_name(parts.get("decided_by", "")),
                members=tuple(_parse(MemberAnswer, part) for part in parts.get("members", ())),
            )
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError("a record is not that of an answer") from error

    def document(self, *, cached: bool) -> dict[str, Any]:
        """Return the row's document; `cached` means that this call did not compute it."""
        return {
            "response": {
                "prediction_label": self.prediction.label,
                "prediction_score": self.prediction.score,
                **self._scores_as("prediction_scores"),
            },
            "metadata": {
                **_language_fields(self.language),
                "truncated": self.prediction.truncated,
                "cached": cached,
            },
            "model_metadata": _fields_of(self.provenance) | self._composition(),
        }

    def without_scores(self) -> Self:
        """Return the answer for a call that did not ask for the probability of each label."""
        if self.prediction.scores is None:
            return self
        return replace(self, prediction=replace(self.prediction, scores=None))

    def _composition(self) -> dict[str, Any]:
        if not self.members:
            return {}
        return {"decided_by": self.decided_by, "members": [*map(_fields_of, self.members)]}

    def _scores_as(self, name: str) -> dict[str, dict[str, float]]:
        scores = self.prediction.scores
        return {} if scores is None else {name: scores}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row without an answer: the refusing step, its reason, and the language if detected."""

    step: str
    reason: str
    provenance: Provenance
    language: Language | None = None

    def document(self) -> dict[str, Any]:
        """Return the row's document, with `response` null and the error beside it."""
        return {
            "response": None,
            "error": {"step": self.step, "reason": self.reason},
            "metadata": {
                **_language_fields(self.language),
                "truncated": None,
                "cached": False,
            },
            "model_metadata": _fields_of(self.provenance),
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a row: an answer or a refusal.

    Attributes:
        answer: The answer, or None.
        refusal: The refusal, or None.
        source: `computed` by the transformer for this row; `repeated`: computed for an equal row
            of the call, or by another thread at the same time; `cached`: read from the prediction
            cache; `refused`.
    """

    answer: Answer | None
    refusal: Refusal | None
    source: Source

    def __post_init__(self) -> None:
        if (self.answer is None) == (self.refusal is None):
            raise ValueError("expected an answer or a refusal")
        if (self.refusal is None) == (self.source == "refused"):
            raise ValueError(f"expected the source of what is there, got {self.source}")

    @classmethod
    def of(cls, result: Answer | Refusal, source: Source) -> Self:
        """Return the outcome of an answer with this source, or of a refusal."""
        if isinstance(result, Refusal):
            return cls(None, result, "refused")
        return cls(result, None, source)

    @property
    def language(self) -> Language | None:
        """The language of the text, if it was detected."""
        return (self.answer or self._refused).language

    def as_repeated(self) -> Self:
        """Return the outcome of an equal row, for which nothing was computed."""
        return replace(self, source="repeated") if self.source == "computed" else self

    def document(self) -> dict[str, Any]:
        """Return the row's document."""
        if self.answer:
            return self.answer.document(cached=self.source != "computed")
        return self._refused.document()

    @property
    def _refused(self) -> Refusal:
        assert self.refusal  # noqa: S101 -- checked at the start
        return self.refusal


@dataclass(frozen=True, slots=True)
class Answers:
    """The outcomes of one call, with its statistics.

    Attributes:
        outcomes: One a text, in the order of the texts.
        model_calls: Texts that the transformer answered in this call.
        model_seconds: Time of language detection and prediction.
        cache_failures: Failures of the prediction cache during this call.
        retried: Texts that were retried because their batch failed.
    """

    outcomes: list[Outcome]
    model_calls: int
    model_seconds: float
    cache_failures: int
    retried: int


def _language_fields(language: Language | None) -> dict[str, Any]:
    return {
        "language_detected": language and language.code,
        "language_reliable": language and language.reliable,
        "language_probability": language and language.probability,
    }


def _fields_of(part: Prediction | Language | Provenance | MemberAnswer) -> dict[str, Any]:
    # dataclasses.asdict copies each value, and takes longer than the rest of a row.
    return {name: getattr(part, name) for name in _TYPES[type(part)]}


def _parse_name(value: Any) -> str:
    if type(value) is not str:
        raise TypeError("decided_by")
    return value


def _parse_prediction(values: dict[str, Any]) -> Prediction:
    prediction = _parse(Prediction, values)
    scores = prediction.scores
    if scores is not None and {type(score) for score in dict(scores).values()} != {float}:
        raise TypeError("scores")
    return prediction


def _parse(kind: type[Part], values: dict[str, Any]) -> Part:
    part = kind(**values)
    for name, expected in _TYPES[kind].items():
        if type(values[name]) is not expected:
            raise TypeError(name)
    return part


def to_json(document: dict[str, Any]) -> str:
    """Return a document or a record as JSON."""
    return json.dumps(document, ensure_ascii=False)
