"""Answers of two versions to the test rows that neither was trained or validated on."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from tqdm import tqdm

from pyfunc.batching import DEFAULT_BATCH_TOKENS
from tasks.dataset.labels import label_key
from tasks.dataset.splitting import digest_text
from tasks.measures.paired import PairedCounts
from tasks.tracking.names import version_uri
from tasks.tracking.pipeline_loader import load_pipeline, predict_documents
from tasks.tracking.pipeline_members import origins_of
from tasks.training.logged_rows import load_joint_test_rows, select_unused_by_all

_ROWS_PER_PROGRESS_UPDATE = 128


class TestRows(NamedTuple):
    """The test rows of a version.

    Attributes:
        held_out: Those (`text`, `label`) that neither it nor the champion was trained or validated
            on.
        all: How many there are, each text once.
    """

    held_out: pd.DataFrame
    all: int


class HeldOutAnswers(NamedTuple):
    """How two versions answered the same labelled rows.

    Attributes:
        counts: Rows by who is right; a refusal is a wrong answer.
        flips: Rows that they answer with different labels, or that one of them refuses.
    """

    counts: PairedCounts
    flips: int


def load_held_out_rows(candidate: ModelVersion, champion: ModelVersion) -> TestRows:
    """Return the test rows of a version that are new to it and to the champion, each text once.

    The tests are of independent rows: a version that has one of equal texts right has all.
    """
    own = origins_of(candidate).values()
    rows = load_joint_test_rows(origin.training_run_id for origin in own if origin.decides)
    rows = rows[~rows["text"].map(digest_text).duplicated()].reset_index(drop=True)
    return TestRows(select_unused(rows, candidate, champion), len(rows))


def select_unused(rows: pd.DataFrame, *versions: ModelVersion) -> pd.DataFrame:
    """Return those of `rows` (`text`) that none of the versions was trained or validated on."""
    origins = (origin for version in versions for origin in origins_of(version).values())
    return select_unused_by_all(rows, (origin.training_run_id for origin in origins))


def answer_rows(
    rows: pd.DataFrame, candidate: ModelVersion, champion: ModelVersion
) -> HeldOutAnswers:
    """Return how both versions answer labelled rows (`text`, `label`)."""
    (found,) = answer_groups({"": rows}, candidate, champion).values()
    return found


def answer_groups(
    groups: Mapping[str, pd.DataFrame], candidate: ModelVersion, champion: ModelVersion
) -> dict[str, HeldOutAnswers]:
    """Return how both versions answer each group of labelled rows (`text`, `label`)."""
    texts = [text for rows in groups.values() for text in rows["text"]]
    answers = zip(_labels(champion, texts), _labels(candidate, texts), strict=True)
    return {name: _count(rows, answers) for name, rows in groups.items()}


def _count(rows: pd.DataFrame, answers: Iterator[tuple[str | None, str | None]]) -> HeldOutAnswers:
    """Count the next answers, of the champion and of the other version, to rows."""
    truth = [label_key(label) for label in rows["label"]]
    found = list(islice(answers, len(truth)))
    pairs = zip(found, truth, strict=True)
    return HeldOutAnswers(
        PairedCounts.of((present == true, new == true) for (present, new), true in pairs),
        sum(present != new for present, new in found),
    )


def _labels(version: ModelVersion, texts: Sequence[str]) -> list[str | None]:
    """Return the label of each text in its normal form; None for one that is refused."""
    model = load_pipeline(version_uri(version.name, version.version))
    labels: list[str | None] = []
    with tqdm(total=len(texts), desc=f"version {version.version}", disable=None) as bar:
        for start in range(0, len(texts), _ROWS_PER_PROGRESS_UPDATE):
            part = list(texts[start : start + _ROWS_PER_PROGRESS_UPDATE])
            answers = predict_documents(
                model, part, use_cache=False, batch_tokens=DEFAULT_BATCH_TOKENS
            )
            for answer in answers:
                response = answer["response"]
                labels.append(response and label_key(response["prediction_label"]))
            bar.update(len(part))
    return labels
