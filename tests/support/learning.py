"""Feedback for tests: corrected labels of texts that a tiny model would label otherwise."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.learning.types import Feedback
from tasks.training.finetuned_model import downloaded_classifier, max_tokens_of
from tasks.training.reference import open_reference
from tests.support.tiny_models import LABELS

# Words that the training had not, for the label that it would not give them.
CORRECTED = [
    (f"a {'bleak' if row % 2 else 'lovely'} film, number {row}", ("positive", "negative")[row % 2])
    for row in range(300, 360)
]


def write_feedback(
    folder: Path, rows: list[tuple[str, str]] = CORRECTED, *, digest: str = "f" * 64
) -> Feedback:
    """Write corrected labels as learning takes them."""
    path = folder / f"{digest[:8]}.parquet"
    pd.DataFrame(rows, columns=["text", "label"]).assign(held_out=False).to_parquet(path)
    return Feedback(rows=path, digest=digest)


def answers(model_uri: str, texts: list[str]) -> Any:
    """Return the logits of a fine-tuned model, of shape (texts, labels)."""
    with downloaded_classifier(model_uri) as folder:
        return open_reference(folder, max_tokens=max_tokens_of(folder)).logits(texts)


def accuracy(model_uri: str, rows: list[tuple[str, str]]) -> float:
    """Return the share of rows to which a fine-tuned model gives their label."""
    found = answers(model_uri, [text for text, _ in rows]).argmax(axis=1)
    return float(
        np.mean([LABELS[row] == label for row, (_, label) in zip(found, rows, strict=True)])
    )
