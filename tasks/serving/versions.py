"""The versions that answer requests: load them, warm them up, and answer rows with them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyfunc.contract import Answers
from tasks.arms.asked_split import split_with
from tasks.arms.assignment import key_of
from tasks.arms.types import ScoringModel
from tasks.common.errors import DataError
from tasks.output.row_parameters import RowParameters
from tasks.output.traffic_split import TrafficSplit
from tasks.scoring.scoring_model import resolve_challenger, resolve_scoring_model
from tasks.serving.recent_answers import RecentAnswers
from tasks.serving.types import AskedRows, ServingOptions
from tasks.tracking.names import RegisteredModel
from tasks.tracking.pipeline_loader import load_typed_pipeline

# Short and long ones: an engine compiles its kernels for each shape when it meets it first.
_WARM_UP = [" ".join(["warm up"] * words) for words in (1, 4, 8, 12, 16, 24, 32, 64, 128, 256)]


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """A loaded version.

    Attributes:
        model: What it is.
        pipeline: Its pipeline, of the code that it ships.
        recent: Its newest answers.
    """

    model: ScoringModel
    pipeline: Any
    recent: RecentAnswers = field(default_factory=RecentAnswers)

    @property
    def number(self) -> int:
        """Its number in the registry."""
        return RegisteredModel.from_uri(self.model.uri).version

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads besides the text."""
        return self.model.business.input_columns if self.model.business else ()

    def answer(self, asked: AskedRows) -> Answers:
        """Answer or refuse each row."""
        options = asked.options.model_dump()
        answers: Answers
        if self.model.business is not None:
            answers = self.pipeline.answer_rows(asked.texts, asked.columns, **options)
            return answers
        answers = self.pipeline.answer(asked.texts, **options)
        if asked.options.use_cache:
            self.recent.add(asked.texts, answers.outcomes, all_scores=asked.options.all_scores)
        return answers

    def recall(self, asked: AskedRows) -> Answers | None:
        """Return the answers if all of them are recent; of look-ups and rules none are."""
        if self.model.business is not None or not asked.options.use_cache:
            return None
        outcomes = self.recent.find(asked.texts, all_scores=asked.options.all_scores)
        if outcomes is None:
            return None
        return Answers(outcomes, model_calls=0, model_seconds=0.0, cache_failures=0, retried=0)

    def documents(self, answers: Answers) -> list[dict[str, Any]]:
        """Return the document of each row of what `answer` returned."""
        found: list[dict[str, Any]]
        if hasattr(self.pipeline, "documents"):
            found = self.pipeline.documents(answers)
            return found
        # The code that earlier versions ship makes them of a row each.
        if self.model.business is None:
            return [outcome.document() for outcome in answers.outcomes]
        rows: Any = answers
        pairs = zip(answers.outcomes, rows.columns.to_pylist(), strict=True)
        return [self.pipeline._document(outcome, row) for outcome, row in pairs]

    def warm_up(self) -> None:
        """Answer texts of several lengths, without the cache, look-ups and rules."""
        inner = getattr(self.pipeline, "inner", self.pipeline)
        for texts in (_WARM_UP, *([text] for text in _WARM_UP)):
            inner.answer(texts, use_cache=False, batch_tokens=1_024)


@dataclass(frozen=True, slots=True)
class AnsweredPart:
    """Rows that one version answered.

    Attributes:
        version: The version.
        asked: The rows.
        answers: Its answers.
    """

    version: ServedVersion
    asked: AskedRows
    answers: Answers


@dataclass(frozen=True, slots=True)
class AnsweredRows:
    """The answers to rows.

    Attributes:
        documents: The document of each row.
        versions: The number of the version that answered each row.
        parts: The rows of each version.
    """

    documents: list[dict[str, Any]]
    versions: list[int]
    parts: list[AnsweredPart]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What answers at a time: a version, or the two arms of a split.

    Attributes:
        versions: The version of each arm.
        split: Which rows the second one answers; none without a second.
    """

    versions: tuple[ServedVersion, ...]
    split: TrafficSplit | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a request needs besides the text."""
        found = [name for version in self.versions for name in version.columns]
        if self.split and self.split.key_column:
            found.append(self.split.key_column)
        return tuple(dict.fromkeys(found))

    def check_columns(self, columns: Mapping[str, Sequence[object]]) -> None:
        """Check that a request has the columns that are read, and no others.

        Raises:
            DataError: If not.
        """
        expected = self.columns
        named = ", ".join(expected) or "none"
        for name in columns:
            if name not in expected:
                raise DataError(f"columns: {name!r} is unknown; expected besides the text: {named}")
        for name in expected:
            if name not in columns:
                raise DataError(f"columns: {name!r} is missing; expected besides the text: {named}")

    def answer(self, asked: AskedRows) -> AnsweredRows:
        """Answer or refuse each row with the version of its arm."""
        arms = self._assign(asked)
        parts = [AnsweredPart(v, own, v.answer(own)) for v, own in self._rows_of(arms, asked)]
        return self._join(arms, parts)

    def recall(self, asked: AskedRows) -> AnsweredRows | None:
        """Return the answers if all of them are recent, without waiting for anything."""
        arms = self._assign(asked)
        parts = []
        for version, own in self._rows_of(arms, asked):
            if (answers := version.recall(own)) is None:
                return None
            parts.append(AnsweredPart(version, own, answers))
        return self._join(arms, parts)

    def _rows_of(
        self, arms: Sequence[int], asked: AskedRows
    ) -> Iterator[tuple[ServedVersion, AskedRows]]:
        """Yield each version that has rows, with them."""
        for number, version in enumerate(self.versions):
            places = [place for place, arm in enumerate(arms) if arm == number]
            if places:
                yield version, asked if len(places) == len(arms) else _take(asked, places)

    def _join(self, arms: Sequence[int], parts: list[AnsweredPart]) -> AnsweredRows:
        """Put the rows of the versions into the order of the request."""
        of_parts = [iter(part.version.documents(part.answers)) for part in parts]
        of_arms = dict(zip(sorted(set(arms)), of_parts, strict=True))
        return AnsweredRows(
            documents=[next(of_arms[arm]) for arm in arms],
            versions=[self.versions[arm].number for arm in arms],
            parts=parts,
        )

    def _assign(self, asked: AskedRows) -> list[int]:
        if (split := self.split) is None:
            return [0] * len(asked.texts)
        texts = [key_of(text) for text in asked.texts]
        keys = map(key_of, asked.columns[split.key_column]) if split.key_column else texts
        return [
            int(split.goes_to_challenger(key or text))
            for key, text in zip(keys, texts, strict=True)
        ]


def _take(asked: AskedRows, places: Sequence[int]) -> AskedRows:
    columns = {name: [values[p] for p in places] for name, values in asked.columns.items()}
    texts = [asked.texts[place] for place in places]
    return AskedRows.model_construct(texts=texts, columns=columns, options=asked.options)


def load_served_model(options: ServingOptions) -> ServedModel:
    """Load and warm up what the options mean now.

    Raises:
        ModelError: If a version cannot be used.
        ParameterError: If there is no such version, or a source of its look-ups has no address.
    """
    rows = RowParameters()
    models = [resolve_scoring_model(options.model_uri)]
    split = None
    if (asked := options.asked_split) is not None:
        models.append(resolve_challenger(asked, models[0], rows))
        split = split_with(models[1], asked, options.split_key)
    versions = tuple(ServedVersion(m, load_typed_pipeline(m.uri)) for m in models)
    for version in versions:
        version.warm_up()
    return ServedModel(versions, split)
