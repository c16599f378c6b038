"""Answer rows with the pipelines of their arms, and measure what each took."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pyfunc.contract import Answers, Outcome
from pyfunc.pipeline import InferencePipeline
from tasks.arms.assignment import Assigned


@dataclass
class Work:
    """What the answers of an arm took.

    Attributes:
        model_calls: Texts that went through the transformer.
        model_seconds: Time of language detection and prediction, summed over threads.
        cache_failures: Failures of the prediction cache.
        retried: Texts that were retried because their batch failed.
        seconds: Time by the clock, cache included.
    """

    model_calls: int = 0
    model_seconds: float = 0.0
    cache_failures: int = 0
    retried: int = 0
    seconds: float = 0.0

    def add(self, answers: Answers, seconds: float) -> None:
        """Add what a call of the pipeline took."""
        self.model_calls += answers.model_calls
        self.model_seconds += answers.model_seconds
        self.cache_failures += answers.cache_failures
        self.retried += answers.retried
        self.seconds += seconds


@dataclass
class ArmAnswers:
    """The outcomes of rows, in their order, with the arm of each.

    Attributes:
        works: What each arm took, by its number.
        outcomes: One for each row.
        arms: The number of the arm of each row.
        without_key: Rows that were assigned by their text, because they have no key.
    """

    works: list[Work]
    outcomes: list[Outcome] = field(default_factory=list)
    arms: list[int] = field(default_factory=list)
    without_key: int = 0

    def of_arm(self, number: int) -> list[Outcome]:
        """Return the outcomes of an arm."""
        pairs = zip(self.outcomes, self.arms, strict=True)
        return [outcome for outcome, arm in pairs if arm == number]

    def answer(
        self,
        pipelines: Sequence[InferencePipeline],
        texts: Sequence[object],
        assigned: Assigned,
        **options: Any,
    ) -> None:
        """Answer more rows, each with the pipeline of its arm.

        Args:
            pipelines: One for each arm.
            texts: Rows of any type.
            assigned: Their arms.
            **options: Those of `InferencePipeline.answer`.
        """
        found: dict[int, Outcome] = {}
        for number, pipeline in enumerate(pipelines):
            places = [place for place, arm in enumerate(assigned.arms) if arm == number]
            if not places:
                continue
            started = time.monotonic()
            answers = pipeline.answer([texts[place] for place in places], **options)
            self.works[number].add(answers, time.monotonic() - started)
            found |= zip(places, answers.outcomes, strict=True)
        self.outcomes += [found[place] for place in range(len(texts))]
        self.arms += assigned.arms
        self.without_key += assigned.without_key
