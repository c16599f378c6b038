"""The rows of one call on their way through look-ups, rules, prediction and rules."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, reduce
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ..bisection import Failure
from ..contract import Answer, Outcome, Provenance, Refusal
from .column_types import to_pandas
from .frames import Columns, build_frame, with_predictions
from .logic import (
    BusinessLogic,
    PendingLookups,
    refused_by_lookups,
)
from .lookup import FAILED
from .rules import Rules
from .spec import DELIVER, LOOKED_UP_AT, decision_column


class DecidedRows:
    """The rows of one call.

    Args:
        logic: The look-ups and rules.
        texts: A text a row, of any type.
        columns: Other input columns.
        provenance: That of a refusal.

    Attributes:
        texts: What the model is to read of each row.
    """

    def __init__(
        self,
        logic: BusinessLogic,
        texts: Sequence[object],
        columns: Columns,
        provenance: Provenance,
    ) -> None:
        self._logic = logic
        self._provenance = provenance
        self.texts: list[object] = list(texts)
        nothing = [None] * len(texts)
        self._columns = {name: columns.get(name, nothing) for name in logic.spec.input_columns}
        self._pending: PendingLookups | None = None
        self._looked_up: Mapping[str, pa.Table] = {}
        self._joined = False
        self._refusals: dict[int, Refusal] = {}
        self._decisions: dict[str, list[Any]] = {}

    def look_up(self, looked_up: Mapping[str, pa.Table] | None) -> None:
        """Take what was looked up, or start to."""
        if looked_up is None:
            self._pending = self._logic.start_lookups(self._columns)
        else:
            self._looked_up = looked_up

    def join_lookups(self) -> None:
        """Wait for the look-ups, and refuse the rows that they refuse."""
        if self._joined:
            return
        self._joined = True
        if self._pending is not None:
            self._looked_up = self._pending.join()
        for place, reason in enumerate(refused_by_lookups(self._looked_up, len(self.texts))):
            if reason is not None:
                self._refuse(place, "lookup", reason)

    def apply_rules_before(self) -> None:
        """Refuse rows by `before`, and take the texts of `text`."""
        places = self.accepted()
        if self._logic.has_rule("before"):
            found = self._rules.reasons(self._rows(places))
            for place, reason in zip(places, found, strict=True):
                if reason:
                    self._refuse(place, "rules", reason)
            places = self.accepted()
        if self._logic.has_rule("text"):
            for place, text in zip(places, self._rules.texts(self._rows(places)), strict=True):
                if isinstance(text, Failure):
                    self._refuse(place, "rules", text)
                else:
                    self.texts[place] = text

    def accepted(self) -> list[int]:
        """Return the rows that are not refused."""
        return [place for place in range(len(self.texts)) if place not in self._refusals]

    def decide(self, predicted: Mapping[int, Outcome]) -> list[Outcome]:
        """Apply `after` and `deliver` to the rows that are answered.

        Args:
            predicted: The outcome of each row that was given to the model.

        Returns:
            An outcome a row.
        """
        answers = {
            place: outcome.answer
            for place, outcome in predicted.items()
            if outcome.answer is not None and place not in self._refusals
        }
        self._apply_rules_after(answers)
        refused = {
            place: Outcome.of(refusal, "refused") for place, refusal in self._refusals.items()
        }
        outcomes = {**predicted, **refused}
        return [outcomes[place] for place in range(len(self.texts))]

    def added_columns(self) -> pa.Table:
        """Return the columns that look-ups and rules add, a row for each row."""
        columns: dict[str, Any] = {
            lookup.output_column(name): self._looked_up[lookup.name][name]
            for lookup in self._logic.spec.lookups
            for name in lookup.columns
        }
        columns |= self._decisions
        if self._looked_up:
            moments = [table[LOOKED_UP_AT].to_pylist() for table in self._looked_up.values()]
            columns[LOOKED_UP_AT] = [min(row) for row in zip(*moments, strict=True)]
        schema = self._logic.schema
        return pa.table([columns[name] for name in schema.names], schema=schema)

    def count_failed_lookups(self) -> int:
        """Return how many rows have a look-up that failed, refused or not."""
        marks = [table[FAILED] for table in self._looked_up.values()]
        return int(pc.sum(reduce(pc.or_, marks)).as_py() or 0) if marks else 0

    @cached_property
    def _frame(self) -> pd.DataFrame:
        return build_frame(self._logic.spec, self.texts, self._columns, self._looked_up)

    @property
    def _rules(self) -> Rules:
        assert self._logic.rules is not None  # noqa: S101 -- the caller asked for a rule
        return self._logic.rules

    def _apply_rules_after(self, answers: Mapping[int, Answer]) -> None:
        schema = self._logic.schema
        names = list(self._logic.decision_columns.values())
        self._decisions = {name: [None] * len(self.texts) for name in names}
        if not self._logic.has_rule("after", "deliver"):
            return
        places = list(answers)
        frame = with_predictions(self._rows(places), list(answers.values()))
        if self._logic.has_rule("after"):
            found = self._rules.decisions(frame)
            self._store(places, names, found)
            kept = [row for row, place in enumerate(places) if place not in self._refusals]
            places, frame = [places[row] for row in kept], _select(frame, kept)
        if self._logic.has_rule("deliver"):
            decided = {
                name: to_pandas(pa.array([values[p] for p in places], schema.field(name).type))
                for name, values in self._decisions.items()
            }
            column = decision_column(DELIVER)
            self._decisions[column] = [None] * len(self.texts)
            delivered = self._rules.deliveries(frame.assign(**decided))
            rows = [one if isinstance(one, Failure) else (one,) for one in delivered]
            self._store(places, [column], rows)

    def _store(self, places: Iterable[int], names: Sequence[str], found: Iterable[Any]) -> None:
        for place, values in zip(places, found, strict=True):
            if isinstance(values, Failure):
                self._refuse(place, "rules", values)
                continue
            for name, value in zip(names, values, strict=True):
                self._decisions[name][place] = value

    def _rows(self, places: Sequence[int]) -> pd.DataFrame:
        return _select(self._frame, places)

    def _refuse(self, place: int, step: str, reason: str | Failure) -> None:
        words = reason.error if isinstance(reason, Failure) else reason
        self._refusals[place] = Refusal(step, words, self._provenance)
        for values in self._decisions.values():
            values[place] = None


def _select(frame: pd.DataFrame, rows: Sequence[int]) -> pd.DataFrame:
    """Return some rows of a frame, counted anew; all of them are the frame itself."""
    return frame if len(rows) == len(frame) else frame.iloc[list(rows)].reset_index(drop=True)
