"""A pipeline with business logic around the model: look-ups, rules, prediction, rules again.

Predictions are cached, and nothing else: a changed rule decides anew what the cache answers.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..contract import Answer, Answers, Outcome, to_json
from ..pipeline import InferencePipeline
from .decided_rows import DecidedRows
from .frames import Columns
from .logic import BusinessLogic
from .spec import LOOKED_UP_AT


@dataclass(frozen=True, slots=True)
class BusinessAnswers(Answers):
    """The outcomes of one call, with what look-ups and rules added.

    Attributes:
        columns: A row for each outcome, with the columns of `BusinessLogic.schema`.
        lookup_failures: Rows with a look-up that failed, refused or not.
    """

    columns: pa.Table
    lookup_failures: int


@dataclass(frozen=True, slots=True)
class Replay:
    """What the rules say again of rows that were scored.

    Attributes:
        outcomes: An outcome a row; a refusal if the rules refuse it now.
        columns: What they add, with the columns of `BusinessLogic.schema`.
        texts: What the model reads of each row.
    """

    outcomes: list[Outcome]
    columns: pa.Table
    texts: list[object]


class BusinessPipeline:
    """A pipeline with look-ups and rules; other attributes are those of `InferencePipeline`.

    Attributes:
        inner: The pipeline that they surround.
        logic: The look-ups and rules.
    """

    def __init__(self, pipeline: InferencePipeline, logic: BusinessLogic) -> None:
        self.inner = pipeline
        self.logic = logic

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # before `__init__`, as when it is copied
            raise AttributeError(name)
        return getattr(self.inner, name)

    def predict(
        self,
        texts: Sequence[object],
        *,
        columns: Columns | None = None,
        use_cache: bool,
        batch_tokens: int,
        all_scores: bool = False,
    ) -> list[str]:
        """Return one JSON document a row; the arguments are those of `answer_rows`."""
        answers = self.answer_rows(
            texts,
            columns or {},
            use_cache=use_cache,
            batch_tokens=batch_tokens,
            all_scores=all_scores,
        )
        return [to_json(document) for document in self.documents(answers)]

    def documents(self, answers: BusinessAnswers) -> list[dict[str, Any]]:
        """Return the document of each row of what `answer_rows` returned, with its decision."""
        rows = zip(answers.outcomes, answers.columns.to_pylist(), strict=True)
        return [self._document(outcome, row) for outcome, row in rows]

    def answer(self, texts: Sequence[object], **options: Any) -> BusinessAnswers:
        """Answer or refuse each row without other columns; see `answer_rows`."""
        return self.answer_rows(texts, {}, **options)

    def answer_rows(
        self,
        texts: Sequence[object],
        columns: Columns,
        looked_up: Mapping[str, pa.Table] | None = None,
        **options: Any,
    ) -> BusinessAnswers:
        """Answer or refuse each row, in the order given; no row makes another fail.

        Args:
            texts: Rows of any type.
            columns: Other input columns; one that is not there has nulls.
            looked_up: What `BusinessLogic.look_up` found for each look-up; without it, all look-ups
                run now, beside the model where no rule before it needs them.
            **options: Those of `InferencePipeline.answer`.

        Raises:
            PredictParameterError: If `batch_tokens` is out of bounds.
            Exception: If the model raises on every text, or `progress` raises.
        """
        rows = DecidedRows(self.logic, texts, columns, self.inner.provenance)
        rows.look_up(looked_up)
        if self.logic.has_rule("before", "text"):
            rows.join_lookups()
            rows.apply_rules_before()
        places = rows.accepted()
        answers = self.inner.answer([rows.texts[place] for place in places], **options)
        rows.join_lookups()
        outcomes = rows.decide(dict(zip(places, answers.outcomes, strict=True)))
        return BusinessAnswers(
            outcomes=outcomes,
            model_calls=answers.model_calls,
            model_seconds=answers.model_seconds,
            cache_failures=answers.cache_failures,
            retried=answers.retried,
            columns=rows.added_columns(),
            lookup_failures=rows.count_failed_lookups(),
        )

    def replay(
        self,
        texts: Sequence[object],
        *,
        columns: Columns,
        stored: pa.Table,
        answers: Sequence[Answer],
    ) -> Replay:
        """Apply the rules again to rows that were scored, with what was looked up then.

        Args:
            texts: A text a row.
            columns: Other input columns.
            stored: What look-ups and rules had added, with the columns of `BusinessLogic.schema`.
            answers: The answer of each row then.
        """
        rows = DecidedRows(self.logic, texts, columns, self.inner.provenance)
        rows.look_up(self.logic.stored_lookups(stored))
        rows.join_lookups()
        rows.apply_rules_before()
        answered = {place: Outcome.of(answers[place], "cached") for place in rows.accepted()}
        return Replay(rows.decide(answered), rows.added_columns(), rows.texts)

    def count_stored(self, texts: Iterable[str], *, all_scores: bool = False) -> int:
        """Return how many of the texts the prediction cache answers."""
        return self.inner.count_stored(texts, all_scores=all_scores)

    def _document(self, outcome: Outcome, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the document of a row, with its decision beside the response."""
        document = outcome.document()
        response = {"response": document.pop("response")}
        decision = None
        if outcome.answer is not None:
            names = self.logic.decision_columns
            decision = {name: _json_value(row[column]) for name, column in names.items()}
        if self.logic.spec.lookups:
            document["metadata"] |= {LOOKED_UP_AT: _json_value(row[LOOKED_UP_AT])}
        document["model_metadata"] |= {"rules_digest": self.logic.digest}
        return response | {"decision": decision} | document


def open_business_pipeline(
    artifact: Path, pipeline: InferencePipeline, model_config: Mapping[str, Any] | None
) -> BusinessPipeline:
    """Put the business logic of an artifact around its pipeline.

    Raises:
        ArtifactError: If a file is missing or invalid.
    """
    return BusinessPipeline(pipeline, BusinessLogic.open(artifact, model_config))


def _json_value(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):  # JSON has none
        return None
    return value.isoformat() if hasattr(value, "isoformat") else value
