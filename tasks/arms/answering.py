"""Answer rows with the pipelines of their arms, and measure what each took."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pyfunc.business.spec import DELIVER_COLUMN
from pyfunc.contract import Answers, Outcome
from pyfunc.pipeline import InferencePipeline
from tasks.arms.assignment import Assigned

_NOTHING = pa.table({})  # of a pipeline without look-ups and rules


@dataclass
class Work:
    """What the answers of an arm took.

    Attributes:
        model_calls: Texts that went through the transformer.
        model_seconds: Time of language detection and prediction, summed over threads.
        cache_failures: Failures of the prediction cache.
        retried: Texts that were retried because their batch failed.
        seconds: Time by the clock, cache included.
        lookup_failures: Rows with a look-up that failed.
    """

    model_calls: int = 0
    model_seconds: float = 0.0
    cache_failures: int = 0
    retried: int = 0
    seconds: float = 0.0
    lookup_failures: int = 0

    def add(self, answers: Answers, seconds: float) -> None:
        """Add what a call of the pipeline took."""
        self.model_calls += answers.model_calls
        self.model_seconds += answers.model_seconds
        self.cache_failures += answers.cache_failures
        self.retried += answers.retried
        self.seconds += seconds
        self.lookup_failures += getattr(answers, "lookup_failures", 0)


@dataclass(frozen=True, slots=True)
class ReadableRows:
    """Rows to answer.

    Attributes:
        texts: A text a row, of any type.
        columns: Other columns that look-ups and rules read.
        looked_up: What the look-ups of each arm found, by their names.
    """

    texts: Sequence[object]
    columns: Mapping[str, Sequence[object]] = field(default_factory=dict)
    looked_up: Sequence[Mapping[str, pa.Table]] = ()

    def answer(
        self, arm: int, pipeline: InferencePipeline, places: Sequence[int], options: dict[str, Any]
    ) -> Answers:
        """Answer rows of an arm; look-ups and rules get the other columns too."""
        texts = [self.texts[place] for place in places]
        business: Any = pipeline
        if getattr(business, "logic", None) is None:
            return pipeline.answer(texts, **options)
        rows = pa.array(places, pa.int64())
        columns = {name: [values[p] for p in places] for name, values in self.columns.items()}
        looked_up = {name: found.take(rows) for name, found in self.looked_up[arm].items()}
        answers: Answers = business.answer_rows(texts, columns, looked_up, **options)
        return answers


@dataclass
class ArmAnswers:
    """The outcomes of rows, in their order, with the arm of each.

    Attributes:
        works: What each arm took, by its number.
        schema: The columns that look-ups and rules add.
        outcomes: One for each row.
        added: Tables of these columns, with a row for each row.
        arms: The number of the arm of each row.
        without_key: Rows that were assigned by their text, because they have no key.
    """

    works: list[Work]
    schema: pa.Schema = field(default_factory=lambda: pa.schema([]))
    outcomes: list[Outcome] = field(default_factory=list)
    added: list[pa.Table] = field(default_factory=list)
    arms: list[int] = field(default_factory=list)
    without_key: int = 0

    def of_arm(self, number: int) -> list[Outcome]:
        """Return the outcomes of an arm."""
        pairs = zip(self.outcomes, self.arms, strict=True)
        return [outcome for outcome, arm in pairs if arm == number]

    def answer(
        self,
        pipelines: Sequence[InferencePipeline],
        rows: ReadableRows,
        assigned: Assigned,
        **options: Any,
    ) -> None:
        """Answer more rows, each with the pipeline of its arm.

        Args:
            pipelines: One for each arm.
            rows: The rows.
            assigned: Their arms.
            **options: Those of `InferencePipeline.answer`.
        """
        texts = rows.texts
        found: dict[int, Outcome] = {}
        # A version without a rule for it delivers each row.
        added: dict[str, list[Any]] = {
            name: [True if name == DELIVER_COLUMN else None] * len(texts)
            for name in self.schema.names
        }
        for number, pipeline in enumerate(pipelines):
            places = [place for place, arm in enumerate(assigned.arms) if arm == number]
            if not places:
                continue
            started = time.monotonic()
            answers = rows.answer(number, pipeline, places, options)
            self.works[number].add(answers, time.monotonic() - started)
            found |= zip(places, answers.outcomes, strict=True)
            _scatter(getattr(answers, "columns", _NOTHING), places, added)
        self.outcomes += [found[place] for place in range(len(texts))]
        if self.schema.names:
            self.added.append(pa.table(added, schema=self.schema))
        self.arms += assigned.arms
        self.without_key += assigned.without_key


def _scatter(table: pa.Table, places: Sequence[int], columns: Mapping[str, list[Any]]) -> None:
    """Put the rows of a table at their places in columns."""
    for name in table.column_names:
        column = columns[name]
        for place, value in zip(places, table[name].to_pylist(), strict=True):
            column[place] = value
