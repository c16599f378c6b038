"""Answered requests for tests of their record."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pyfunc.contract import Answer, Language, Outcome, Prediction, Provenance, Refusal
from tasks.arms.types import ScoringModel
from tasks.recording.recorded_rows import AnsweredRequest

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
MODEL = ScoringModel(
    uri="models:/inference_pipeline_model/7",
    fingerprint="f" * 16,
    labels=("negative", "positive"),
    engine="static",
    precision="f32",
    device="cpu",
)
_PROVENANCE = Provenance("models:/dl_finetuned_model/3", "models:/m-7")


def outcome_of(text: object) -> Outcome:
    """Answer a text that has "great" in it or not, and refuse what is none."""
    if not isinstance(text, str) or not text:
        reason = "empty" if text in (None, "") else f"not text but {type(text).__name__}"
        return Outcome.of(Refusal("language", reason, _PROVENANCE), "refused")
    label = "positive" if "great" in text else "negative"
    prediction = Prediction(label, 0.875, truncated=False)
    language = Language("en", reliable=True, probability=0.9)
    return Outcome.of(Answer(prediction, language, _PROVENANCE), "computed")


def answered(
    texts: Sequence[object],
    columns: Mapping[str, Sequence[Any]] | None = None,
    *,
    model: ScoringModel = MODEL,
    when: datetime = NOON,
) -> AnsweredRequest:
    """Return a request that was answered."""
    outcomes = [outcome_of(text) for text in texts]
    return AnsweredRequest(texts, outcomes, model, when, columns or {})
