"""Reference predictions of a static model: the definition, text by text.

No code of the inference pipeline takes part, so that an error in it is seen beside these.
"""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from tasks.measures.calibration import Logits

_64_BITS = 2**64 - 1


class StaticReference:
    """A static model in float64, without batches and padding.

    Attributes:
        labels: The labels, in the order of the model's outputs.
    """

    def __init__(self, folder: Path, *, max_tokens: int) -> None:
        """Load tokenizer and weights.

        Args:
            folder: Holds weights, configuration and tokenizer.
            max_tokens: Longer texts are truncated to this many tokens.

        Raises:
            OSError: If a file cannot be read.
        """
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.labels = list(config["id2label"].values())
        self._tokens, self._buckets = config["vocab_size"], config["pair_buckets"]
        self._ignored = set(config["ignored_ids"])
        weights = load_file(folder / "model.safetensors")
        self._table, self._bias = weights["table"].astype(float), weights["bias"].astype(float)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)

    def predict(self, texts: Sequence[str]) -> list[str]:
        """Return the likeliest label of each text."""
        return [self.labels[number] for number in self.logits(texts).argmax(axis=1)]

    def logits(self, texts: Sequence[str]) -> Logits:
        """Return the logits of each text, of shape (texts, labels)."""
        found = [self._text_logits(text) for text in texts]
        return np.array(found).reshape(-1, len(self.labels))

    def _text_logits(self, text: str) -> Logits:
        ids = self._tokenizer.encode(text).ids
        features = [number for number in ids if number not in self._ignored]
        for pair in pairwise(ids):
            if self._ignored.isdisjoint(pair):
                features.append(self._tokens + _mix(*pair) % self._buckets)
        logits: Logits = self._table[features].sum(axis=0) / max(1, len(features)) + self._bias
        return logits


def _mix(first: int, second: int) -> int:
    """Return a hash of a pair: SplitMix64, less its first step."""
    mixed = first << 32 | second
    mixed = (mixed ^ mixed >> 31) * 0xBF58476D1CE4E5B9 & _64_BITS
    mixed = (mixed ^ mixed >> 31) * 0x94D049BB133111EB & _64_BITS
    return mixed ^ mixed >> 31
