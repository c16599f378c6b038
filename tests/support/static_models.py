"""Static classifiers for tests: a small one with random weights, and one that was fitted."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pyfunc.classifier import Classifier
from pyfunc.engines.static import StaticEngine
from pyfunc.static.model import StaticModel
from tasks.static_model.fitting import write_unfitted
from tasks.static_model.tokenizer import train_tokenizer

LABELS = ("negative", "positive")


def write_random_static(
    folder: Path, texts: Sequence[str], *, labels: Sequence[str] = LABELS, max_tokens: int = 16
) -> Path:
    """Write a static classifier with random weights, and a tokenizer that was trained on texts."""
    folder.mkdir(parents=True)
    train_tokenizer(texts, folder, max_tokens=max_tokens, labels=len(labels))
    blank = write_unfitted(folder, labels)
    random = np.random.default_rng(7)
    table = random.normal(size=blank.table.shape).astype(np.float32)
    bias = random.normal(size=blank.bias.shape).astype(np.float32)
    StaticModel(blank.labels, blank.space, table, bias).write(folder)
    return folder


def static_classifier(folder: Path, *, max_tokens: int = 16) -> Classifier:
    """Load a static classifier."""
    return Classifier(folder, StaticEngine(folder), max_tokens=max_tokens)
