"""Reference predictions of a fine-tuned model: a transformer's own tokenizer, padding and model.

No code of the inference pipeline takes part, so that an error in it is seen beside these.
"""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from tqdm import tqdm
from transformers import AutoTokenizer

from pyfunc.classifier import read_labels
from pyfunc.engines.torch import load_model
from pyfunc.static.model import is_static
from tasks.measures.calibration import Logits
from tasks.static_model.reference import StaticReference
from tasks.training.token_limit import check_token_limit

_BATCH_ROWS = 32
_ROWS_PER_PROGRESS_UPDATE = 128


class Reference(Protocol):
    """A fine-tuned model whose predictions others are compared with.

    Attributes:
        labels: The labels, in the order of the model's outputs.
    """

    labels: list[str]

    def predict(self, texts: Sequence[str]) -> list[str]:
        """Return the likeliest label of each text."""

    def logits(self, texts: Sequence[str]) -> Logits:
        """Return the logits of each text, of shape (texts, labels)."""


def open_reference(folder: Path, *, max_tokens: int) -> Reference:
    """Load the reference of a fine-tuned model: transformers, or the definition of a static one.

    Args:
        folder: That of `downloaded_classifier`.
        max_tokens: Longer texts are truncated to this many tokens.

    Raises:
        ArtifactError: If a file is missing or cannot be used.
        ModelError: If the model cannot read `max_tokens`.
    """
    if is_static(folder):
        return StaticReference(folder, max_tokens=max_tokens)
    return ReferenceModel(folder, max_tokens=max_tokens)


def predict_logits(model: Reference, texts: Sequence[str], doing: str = "evaluate") -> Logits:
    """Return the logits of many texts, of shape (texts, labels), with a progress bar.

    Args:
        model: The model.
        texts: The texts.
        doing: What the bar is named.
    """
    rows: list[Logits] = [np.empty((0, len(model.labels)))]
    with tqdm(total=len(texts), desc=doing, unit="rows", disable=None) as bar:
        for start in range(0, len(texts), _ROWS_PER_PROGRESS_UPDATE):
            part = texts[start : start + _ROWS_PER_PROGRESS_UPDATE]
            rows.append(model.logits(part))
            bar.update(len(part))
    return np.concatenate(rows)


class ReferenceModel:
    """A fine-tuned model as the documentation of transformers runs it, in float32.

    Attributes:
        labels: The labels, in the order of the model's outputs.
    """

    def __init__(self, folder: Path, *, max_tokens: int) -> None:
        """Load tokenizer and model, without a download, and check what it can read.

        Args:
            folder: Written by `save_pretrained` of the model and of its tokenizer.
            max_tokens: Longer texts are truncated to this many tokens.

        Raises:
            ArtifactError: If a file is missing or cannot be used.
            ModelError: If the model cannot read `max_tokens`.
        """
        self.labels = read_labels(folder)
        self._max_tokens = max_tokens
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model = load_model(folder).to(self._device)
        check_token_limit(self._model, self._tokenizer, max_tokens, "the model")
        # transformers' Trainer drops what the model does not take.
        self._accepted = inspect.signature(self._model.forward).parameters

    def predict(self, texts: Sequence[str]) -> list[str]:
        """Return the likeliest label of each text."""
        return [self.labels[number] for number in self.logits(texts).argmax(axis=1)]

    def logits(self, texts: Sequence[str]) -> Logits:
        """Return the logits of each text, of shape (texts, labels)."""
        # Texts of similar length need little padding.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        found = np.empty((len(texts), len(self.labels)))
        for start in range(0, len(order), _BATCH_ROWS):
            rows = order[start : start + _BATCH_ROWS]
            found[rows] = self._compute([texts[row] for row in rows])
        return found

    @torch.inference_mode()
    def _compute(self, texts: list[str]) -> Logits:
        encoded = self._tokenizer(
            texts,
            truncation=True,
            max_length=self._max_tokens,
            padding=True,
            return_tensors="pt",
        ).to(self._device)
        inputs = {name: array for name, array in encoded.items() if name in self._accepted}
        rows: Logits = self._model(**inputs).logits.double().cpu().numpy()
        return rows
