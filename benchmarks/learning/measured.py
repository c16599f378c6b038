"""Schema of the results, and the figures that tables and plot are made of."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.learning.stream import MEASURED, PARTS
from benchmarks.machine import Machine
from benchmarks.record import Record

TOLERANCE = 0.02  # below the best accuracy, of what counts as recovered


class Update(Record):
    """What a strategy made of a batch.

    Attributes:
        seconds: From the file of feedback to the decision, by the clock around the commands.
        alias: Of the new version; empty if there is none.
        reason: Why it has that alias.
    """

    seconds: float
    alias: str
    reason: str


class Step(Record):
    """A batch: first a test of the champion, then learnt.

    Attributes:
        part: The part of the stream.
        labels: Labels of the batch.
        right: How many of them the champion had right before it was learnt.
        update: What was made of it; None if nothing is done.
        accuracies: Of the champion after the batch, on each kind of fixed rows.
    """

    part: str
    labels: int
    right: int
    update: Update | None
    accuracies: dict[str, float]

    @property
    def accuracy(self) -> float:
        """The share that the champion had right before the batch was learnt."""
        return self.right / self.labels


class Followed(Record):
    """A strategy that followed the whole stream."""

    name: str
    steps: tuple[Step, ...]

    def steps_of(self, part: str) -> list[Step]:
        """Return the batches of a part."""
        return [step for step in self.steps if step.part == part]

    def accuracy_of(self, *parts: str) -> float:
        """Return the share of the labels of some parts that were right before they were learnt."""
        steps = [step for step in self.steps if step.part in parts]
        return sum(step.right for step in steps) / sum(step.labels for step in steps)

    def updates(self) -> list[Update]:
        """Return what was made of each batch."""
        return [step.update for step in self.steps if step.update]


class Poisoning(Record):
    """Feedback of which one person gave a share of the labels, always wrongly.

    Attributes:
        share: The share.
        max_share_by: The cap: `--max-share-by`.
        labels: Labels of the feedback.
        capped: Labels that the cap left out.
        capped_poisoned: Those of them that were wrong.
        update: What became of it.
        accuracies: Of the version that learnt, on each kind of fixed rows.
    """

    share: float
    max_share_by: float
    labels: int
    capped: int
    capped_poisoned: int
    update: Update
    accuracies: dict[str, float]


class Results(Record):
    """The results of a run.

    Attributes:
        machine: The machine.
        seconds: Duration of the run.
        quick: Whether it was a short run, whose numbers are not representative.
        base_model: As of `train_classifier`.
        training_rows: Rows of the first training, with those that validate and test.
        fixed_rows: Fixed rows of each kind.
        relabelled: Share of the rows of the relabelled part whose label was changed.
        relabelled_positive: Share of these that are positive since.
        start: Accuracies of the first champion on each kind of fixed rows.
        strategies: The strategies.
        poisonings: The poisoned feedback.
    """

    machine: Machine
    seconds: float
    quick: bool
    base_model: str
    training_rows: int
    fixed_rows: int
    relabelled: float
    relabelled_positive: float
    start: dict[str, float]
    strategies: tuple[Followed, ...] = ()
    poisonings: tuple[Poisoning, ...] = ()

    def accuracies(self, followed: Followed, kind: str) -> list[float]:
        """Return the accuracy on a kind of fixed rows at the start, and after each batch."""
        return [self.start[kind], *(step.accuracies[kind] for step in followed.steps)]

    def labels_until_recovery(self, followed: Followed, part: str) -> int | None:
        """Return after how many labels of a part the champion is as good as any gets in it.

        It is, once its accuracy on the fixed rows of the part is at most `TOLERANCE` below the best
        of any strategy at the beginning or after any batch of the part. 0 says that it was so
        before; None that it is never so.
        """
        best = max(accuracy for s in self.strategies for _, accuracy in self._curve(s, part))
        curve = self._curve(followed, part)
        return next((labels for labels, found in curve if found >= best - TOLERANCE), None)

    def write(self, path: Path) -> None:
        """Write the results as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    def _curve(self, followed: Followed, part: str) -> Iterator[tuple[int, float]]:
        """Yield the labels of a part so far, and the accuracy on its fixed rows."""
        kind = MEASURED[PARTS.index(part)]
        first = next(n for n, step in enumerate(followed.steps) if step.part == part)
        labels = 0
        yield labels, self.accuracies(followed, kind)[first]
        for step in followed.steps_of(part):
            labels += step.labels
            yield labels, step.accuracies[kind]
