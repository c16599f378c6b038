"""Count the rows of a shard, and those of each arm, while they are written."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import pyarrow as pa

from pyfunc.business.spec import DELIVER_COLUMN
from tasks.arms.answering import ArmAnswers, Work
from tasks.arms.deciders import name_now
from tasks.arms.types import ScoringModel
from tasks.common.counting import count_values, score_histogram
from tasks.dataset.labels import KnownLabels, is_missing
from tasks.output.records import DECIDER_COLUMN, REVIEW_COLUMN, ArmRecord, Counts
from tasks.output.row_parameters import RowParameters
from tasks.output.tables import extract_texts
from tasks.output.traffic_split import ARMS


class _ArmTally:
    """The scored rows of an arm.

    Attributes:
        labels: Predicted, of each row.
        scores: Of each row.
        deciders: The member that decided, of each row that a composed pipeline scored; of an answer
            that another version had computed, also that version.
        counted: Rows that need a review, that are to be delivered, that have a label, those it is
            predicted for, and those of unknown labels, under their names in `Counts`.
    """

    def __init__(self, known_labels: Sequence[str]) -> None:
        self._known = KnownLabels(known_labels)
        self.labels: list[str] = []
        self.scores: list[float] = []
        self.deciders: list[str] = []
        self.counted: Counter[str] = Counter()

    def add(self, predictions: Sequence[str], scores: Sequence[float]) -> None:
        """Count rows."""
        self.labels += predictions
        self.scores += scores

    def compare(self, predictions: Sequence[str], labels: Sequence[object]) -> None:
        """Count the rows that have a label, and those that it is predicted for."""
        for prediction, label in zip(predictions, labels, strict=True):
            if not is_missing(label):
                name = self._known.find(label)
                self.counted["labelled"] += 1
                self.counted["correct"] += name == prediction
                self.counted["unknown_labels"] += name is None


class Tally:
    """Counts the rows of a shard while they are written.

    Args:
        models: The version of each arm.
        rows: The parameters with the columns.
        answers: The outcomes of the rows that could be read.

    Attributes:
        reasons: Step and reason of each rejected row.
    """

    def __init__(
        self, models: Sequence[ScoringModel], rows: RowParameters, answers: ArmAnswers
    ) -> None:
        self._models, self._rows, self._answers = models, rows, answers
        self._tallies = [_ArmTally(model.labels) for model in models]
        pairs = zip(answers.outcomes, answers.arms, strict=True)
        self._arms_of_scored = (arm for outcome, arm in pairs if outcome.answer is not None)
        self.reasons: list[str] = []

    def count_predictions(self, table: pa.Table) -> pa.Table:
        """Count the next rows with a prediction, and return them."""
        arms = list(islice(self._arms_of_scored, table.num_rows))
        predictions = table["prediction_label"].to_pylist()
        scores = table["prediction_score"].to_pylist()
        is_composed = DECIDER_COLUMN in table.column_names
        deciders = _read_deciders(table) if is_composed else None
        reviews = table[REVIEW_COLUMN].to_pylist() if self._rows.review_below else None
        delivers = (
            table[DELIVER_COLUMN].to_pylist() if DELIVER_COLUMN in table.column_names else None
        )
        column = self._rows.label_column
        labels = None if column is None else extract_texts(table, column)
        for number, tally in enumerate(self._tallies):
            own = [place for place, arm in enumerate(arms) if arm == number]
            predicted = [predictions[place] for place in own]
            tally.add(predicted, [scores[place] for place in own])
            if deciders is not None:
                tally.deciders += _names([deciders[place] for place in own], self._models[number])
            if reviews is not None:
                tally.counted["needs_review"] += sum(reviews[place] for place in own)
            if delivers is not None:
                tally.counted["to_deliver"] += sum(map(delivers.__getitem__, own))
            if labels is not None:
                tally.compare(predicted, [labels[place] for place in own])
        return table

    def count_rejected(self, table: pa.Table) -> pa.Table:
        """Count rows without a prediction, and return them."""
        columns = (table["step"].to_pylist(), table["reason"].to_pylist())
        self.reasons += [f"{step}: {reason}" for step, reason in zip(*columns, strict=True)]
        return table

    @property
    def needs_review(self) -> int:
        """Scored rows below the score for a review."""
        return sum(tally.counted["needs_review"] for tally in self._tallies)

    @property
    def labels(self) -> dict[str, int]:
        """Scored rows by predicted label."""
        return count_values(label for tally in self._tallies for label in tally.labels)

    @property
    def deciders(self) -> dict[str, int]:
        """Scored rows by the member that decided; with a split, those of each arm are there."""
        if self._rows.traffic is not None:
            return {}
        (tally,) = self._tallies
        return count_values(tally.deciders)

    @property
    def scores(self) -> tuple[int, ...]:
        """Scored rows by score."""
        return score_histogram([score for tally in self._tallies for score in tally.scores])

    def counts(self) -> Counts:
        """Return the counts of the shard; those of its arms, and rows that could not be read."""
        arms = [self._counts_of(number) for number in range(len(self._models))]
        total: Counter[str] = Counter()
        for arm in arms:
            total.update(arm.model_dump())
        return Counts(**total).model_copy(
            update={
                "rows_in": total["scored"] + len(self.reasons),
                "rejected": len(self.reasons),
                "without_key": self._answers.without_key,
            }
        )

    def arm_records(self) -> dict[str, ArmRecord]:
        """Return what a record has of each arm; nothing if there is no split."""
        if self._rows.traffic is None:
            return {}
        return {ARMS[number]: self._arm_record(number) for number in range(len(self._models))}

    def _arm_record(self, number: int) -> ArmRecord:
        model, tally = self._models[number], self._tallies[number]
        work = self._answers.works[number]
        return ArmRecord(
            model_uri=model.uri,
            logged_uri=model.logged_uri,
            fingerprint=model.fingerprint,
            rules_digest=model.rules_digest,
            engine=model.engine,
            precision=model.precision,
            counts=self._counts_of(number),
            labels=count_values(tally.labels),
            deciders=count_values(tally.deciders),
            scores=score_histogram(tally.scores),
            seconds=work.seconds,
            model_seconds=work.model_seconds,
        )

    def _counts_of(self, number: int) -> Counts:
        outcomes, tally = self._answers.of_arm(number), self._tallies[number]
        work: Work = self._answers.works[number]
        sources = Counter(outcome.source for outcome in outcomes)
        return Counts(
            rows_in=len(outcomes),
            scored=len(tally.labels),
            rejected=sources["refused"],
            model_calls=work.model_calls,
            repeated=sources["repeated"],
            cached=sources["cached"],
            cache_failures=work.cache_failures,
            retried=work.retried,
            lookup_failures=work.lookup_failures,
            **tally.counted,
        )


def _read_deciders(table: pa.Table) -> list[tuple[str | None, str]]:
    """Return the member that decided each row, and the version that computed the row."""
    columns = (table[DECIDER_COLUMN], table["inference_pipeline_model_uri"])
    return list(zip(*(column.to_pylist() for column in columns), strict=True))


def _names(deciders: Iterable[tuple[str | None, str]], model: ScoringModel) -> Iterator[str]:
    """Yield the members of a composed version that decided rows; see `name_now`."""
    for name, computed_by in deciders:
        if name is not None:
            yield name_now(name, computed_by, model)
