"""What the pipeline answers: one JSON document a row."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Self, TypeVar

Part = TypeVar("Part", "Prediction", "Language", "Provenance")


@dataclass(frozen=True, slots=True)
class Language:
    """A detected language: `code` is BCP-47 as gcld3 reports it, or `und` (undetermined)."""

    code: str
    reliable: bool
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """A label and its softmax probability; `truncated` if the text was cut to be read."""

    label: str
    score: float
    truncated: bool


@dataclass(frozen=True, slots=True)
class Provenance:
    """The MLflow URIs of what computed an answer; both load that model again."""

    finetuned_model_uri: str
    inference_pipeline_model_uri: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An answered row. `provenance` names the version that computed it, cached or not."""

    prediction: Prediction
    language: Language
    provenance: Provenance

    def to_record(self) -> str:
        """Return the JSON that the prediction cache stores."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_record(cls, record: str) -> Self:
        """Read what `to_record` wrote.

        Raises:
            ValueError: If the record is something else.
        """
        try:
            parts = json.loads(record)
            return cls(
                prediction=_read(Prediction, parts["prediction"]),
                language=_read(Language, parts["language"]),
                provenance=_read(Provenance, parts["provenance"]),
            )
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError("a record is not that of an answer") from error

    def to_document(self, *, cached: bool) -> str:
        """Return the row's JSON document; `cached` if this call did not compute it."""
        return _to_json(
            response={
                "prediction_label": self.prediction.label,
                "prediction_score": self.prediction.score,
            },
            metadata={
                "language_detected": self.language.code,
                "language_reliable": self.language.reliable,
                "language_probability": self.language.probability,
                "truncated": self.prediction.truncated,
                "cached": cached,
            },
            model_metadata=asdict(self.provenance),
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that cannot be answered: the step that refused it, and why."""

    step: str
    reason: str
    provenance: Provenance

    def to_document(self) -> str:
        """Return the row's JSON document, with `response` null and the error beside it."""
        return _to_json(
            response=None,
            error={"step": self.step, "reason": self.reason},
            metadata={
                "language_detected": None,
                "language_reliable": None,
                "language_probability": None,
                "truncated": None,
                "cached": False,
            },
            model_metadata=asdict(self.provenance),
        )


def _read(kind: type[Part], values: dict[str, Any]) -> Part:
    part = kind(**values)
    for field in fields(kind):
        if type(getattr(part, field.name)) is not field.type:
            raise TypeError(field.name)
    return part


def _to_json(**document: Any) -> str:
    return json.dumps(document, ensure_ascii=False)
