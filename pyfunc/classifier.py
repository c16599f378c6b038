"""Batched prediction with a fine-tuned transformer."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .batching import DEFAULT_BATCH_TOKENS, batches
from .contract import Prediction
from .engines import Engine, Logits
from .tokens import Encoder, Tokens, read_config

Probabilities = npt.NDArray[np.float32]


class Classifier:
    """A sequence classifier that answers batches of texts of any length, in any order.

    Threads may call it at the same time: their batches share the engine.

    Attributes:
        engine: What computes.
        labels: The labels that it answers with, in the order of the engine's outputs.
    """

    def __init__(self, folder: Path, engine: Engine, *, max_tokens: int) -> None:
        """Read the tokenizer and the labels.

        Args:
            folder: Written by `save_pretrained` of the model and of its tokenizer.
            engine: The model.
            max_tokens: Longer texts are cut to this many tokens.

        Raises:
            ArtifactError: If a file is missing or cannot be used, or the model cannot read
                `max_tokens`.
        """
        self.engine = engine
        self.labels = labels_of(folder)
        self._encoder = Encoder(folder, max_tokens=max_tokens)
        self._callers = ThreadPoolExecutor(engine.callers, thread_name_prefix="engine")

    def predict(
        self, texts: Sequence[str], batch_tokens: int = DEFAULT_BATCH_TOKENS
    ) -> list[Prediction]:
        """Return the likeliest label of each text, in the order given.

        Args:
            texts: Texts that UTF-8 can encode.
            batch_tokens: Padded tokens in a batch at most; a longer text is a batch alone.
        """
        if not texts:
            return []
        tokens = self._encoder.encode(texts)
        probabilities = self._run(tokens, batch_tokens)
        return [
            Prediction(self.labels[label], score, row.truncated)
            for label, score, row in zip(
                probabilities.argmax(axis=1).tolist(),
                probabilities.max(axis=1).tolist(),
                tokens,
                strict=True,
            )
        ]

    def probabilities(
        self, texts: Sequence[str], batch_tokens: int = DEFAULT_BATCH_TOKENS
    ) -> Probabilities:
        """Return the softmax over `labels` of each text, of shape (texts, labels).

        Args:
            texts: Texts that UTF-8 can encode.
            batch_tokens: Padded tokens in a batch at most; a longer text is a batch alone.
        """
        return self._run(self._encoder.encode(texts), batch_tokens)

    def _run(self, tokens: Sequence[Tokens], batch_tokens: int) -> Probabilities:
        logits = np.empty((len(tokens), len(self.labels)), np.float32)
        running: list[tuple[list[int], Future[Logits]]] = []
        try:
            for rows in batches([len(row.ids) for row in tokens], batch_tokens):
                batch = [tokens[row] for row in rows]
                running.append((rows, self._callers.submit(self._logits, batch)))
            for rows, future in running:
                logits[rows] = future.result()
        finally:
            for _, future in running:
                future.cancel()
        return _softmax(logits)

    def _logits(self, batch: Sequence[Tokens]) -> Logits:
        return self.engine.logits(self._encoder.pad(batch))


def _softmax(logits: Logits) -> Probabilities:
    with np.errstate(invalid="ignore"):  # NaN, of a model that is none, is refused row by row
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
        probabilities: Probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def labels_of(folder: Path) -> list[str]:
    """Return the labels of a fine-tuned model, in the order of its outputs.

    Raises:
        ArtifactError: If its `config.json` is missing or no JSON object.
    """
    # transformers leaves out the names that it would give to two labels without any.
    names = read_config(folder, "config.json").get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    return [str(name) for _, name in sorted(names.items(), key=lambda item: int(item[0]))]
