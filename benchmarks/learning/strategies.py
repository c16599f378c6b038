"""Ways to learn from a batch of labels, and how each of them follows the stream."""

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.learning.measured import Followed, Poisoning, Step, Update
from benchmarks.learning.state import State
from benchmarks.learning.stream import POISONER, Row, Stream, poison, write_rows

logger = logging.getLogger(__name__)

# Makes a version of a file of feedback, and returns the seconds of its commands.
Learn = Callable[[State, Path], float]

_ALL_ROWS = ("--sample-size", "0")


def train(state: State, base_model: str) -> float:
    """Train on all labelled rows of a state folder, build the pipeline, and return the seconds."""
    source = ("--source", str(_labelled(state)), "--base-model", base_model)
    seconds = state.run("train_classifier", *source, *_ALL_ROWS)
    return seconds + state.run("build_inference_pipeline")


def start(state: State, stream: Stream, base_model: str) -> None:
    """Train the first champion."""
    write_rows(stream.training, _labelled(state) / "training.csv")
    train(state, base_model)


def strategies(base_model: str) -> dict[str, Learn | None]:
    """Return the strategies by name; None does nothing."""

    def escalate(state: State, file: Path) -> float:
        return _learn(state, file, "--escalate")

    def train_again(state: State, file: Path) -> float:
        shutil.copy(file, _labelled(state))
        return train(state, base_model)

    return {
        "doing nothing": None,
        "head refit": _learn,
        "escalation": escalate,
        "full retraining": train_again,
    }


def follow(name: str, learn: Learn | None, state: State, stream: Stream) -> Followed:
    """Let a strategy follow the stream: each batch tests the champion, and is learnt then.

    Args:
        name: Of the strategy.
        learn: What it makes of a batch.
        state: Its state folder, with the first champion.
        stream: The stream.
    """
    return Followed(name=name, steps=tuple(_steps(name, learn, state, stream)))


def measure_poisoning(state: State, stream: Stream, share: float, max_share_by: float) -> Poisoning:
    """Learn from feedback of which one person gave a share of the labels, always wrongly."""
    from tasks.common.settings import get_settings
    from tasks.feedback.choosing import load_feedback
    from tasks.feedback.types import FeedbackChoices

    rows = poison(stream.unpoisoned, share)
    file = write_rows(rows, state.home.with_suffix(".csv"))
    before = state.latest()
    seconds = _learn(state, file, "--max-share-by", str(max_share_by))
    with state.opened():
        choices = FeedbackChoices(max_share_by=max_share_by)
        left_out = load_feedback(get_settings().feedback_store, choices).left_out
    capped = left_out[left_out["reason"] == "capped"]
    return Poisoning(
        share=share,
        max_share_by=max_share_by,
        labels=len(rows),
        capped=len(capped),
        capped_poisoned=int((capped["by"] == POISONER).sum()),
        update=state.outcome(before, seconds),
        accuracies=accuracies(state, state.latest(), stream.fixed),
    )


def accuracies(
    state: State, model_uri: str, fixed: Mapping[str, Sequence[Row]]
) -> dict[str, float]:
    """Return the accuracy of a version on each kind of fixed rows."""
    return {kind: state.right(model_uri, rows) / len(rows) for kind, rows in fixed.items()}


def _steps(name: str, learn: Learn | None, state: State, stream: Stream) -> Iterator[Step]:
    champion = state.champion()
    measured = accuracies(state, champion, stream.fixed)
    batches = [(part, rows) for part, found in stream.batches.items() for rows in found]
    for number, (part, rows) in enumerate(batches, start=1):
        right = state.right(champion, rows)
        update = learn and _update(learn, state, rows, f"batch-{number:02}.csv")
        if (now := state.champion()) != champion:
            champion, measured = now, accuracies(state, now, stream.fixed)
        step = Step(part=part, labels=len(rows), right=right, update=update, accuracies=measured)
        logger.info("%s, batch %d of %s: %.3f, %s", name, number, part, step.accuracy, update)
        yield step


def _update(learn: Learn, state: State, rows: Sequence[Row], name: str) -> Update:
    file = write_rows(rows, state.home / "batches" / name)
    before = state.latest()
    return state.outcome(before, learn(state, file))


def _learn(state: State, file: Path, *options: str) -> float:
    return state.run("learn_from_feedback", "--feedback", str(file), *options)


def _labelled(state: State) -> Path:
    return state.home / "labelled"
