"""Reference predictions of a fine-tuned model by transformers alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

TEXTS = [
    "Great movie",
    "what a disappointing movie",
    "很好看的电影",
    "an uneven film that " * 20,
    "",
    "\0 null",
    "[CLS] [SEP] [MASK] [PAD]",
    "café\u0301 naïve ÆØÅ",
    "שלום עולם",
    "😀👍🏽" * 9,
    "a" * 300,
]


class Reference:
    """The model as in the documentation of transformers, text by text."""

    def __init__(self, folder: Path, max_tokens: int = 16) -> None:
        self._model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._max_tokens = max_tokens

    @torch.no_grad()
    def probabilities(self, text: str) -> list[float]:
        """Return the probability of each label."""
        inputs = self._tokenizer(
            text, truncation=True, max_length=self._max_tokens, return_tensors="pt"
        )
        probabilities: list[float] = self._model(**inputs).logits.softmax(-1)[0].tolist()
        return probabilities

    def ids(self, text: str) -> list[int]:
        """Return the token ids of the truncated text."""
        tokens = self._tokenizer(text, truncation=True, max_length=self._max_tokens)
        ids: list[int] = tokens["input_ids"]
        return ids

    def tokens(self, text: str) -> int:
        """Return the number of tokens before truncation."""
        return len(self._tokenizer(text)["input_ids"])


def close(rows: Any, tolerance: float = 1e-5) -> Any:
    """Return rows that compare equal within `tolerance`."""
    return [pytest.approx(row, abs=tolerance, rel=0) for row in rows]
