"""Answers of two versions to the test rows that neither was trained or validated on."""

from collections.abc import Sequence
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
    own, others = origins_of(candidate), origins_of(champion)
    rows = load_joint_test_rows(origin.training_run_id for origin in own.values() if origin.decides)
    rows = rows[~rows["text"].map(digest_text).duplicated()].reset_index(drop=True)
    runs = (origin.training_run_id for origin in (*own.values(), *others.values()))
    return TestRows(select_unused_by_all(rows, runs), len(rows))


def answer_rows(
    rows: pd.DataFrame, candidate: ModelVersion, champion: ModelVersion
) -> HeldOutAnswers:
    """Return how both versions answer labelled rows (`text`, `label`)."""
    truth = [label_key(label) for label in rows["label"]]
    texts = rows["text"].tolist()
    new, present = _labels(candidate, texts), _labels(champion, texts)
    pairs = zip(present, new, truth, strict=True)
    return HeldOutAnswers(
        PairedCounts.of((one == true, other == true) for one, other, true in pairs),
        sum(one != other for one, other in zip(present, new, strict=True)),
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
