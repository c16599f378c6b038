"""Text classification with a fine-tuned transformer: tokenise, batch, softmax, label."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from .batch_queue import BatchQueue
from .batching import DEFAULT_BATCH_TOKENS, padded_length, split_into_batches
from .contract import Prediction
from .engines.engine import Engine, Logits
from .tokens import Encoder, Tokens, read_config

Probabilities = npt.NDArray[np.float32]
Row = TypeVar("Row")


class Batch:
    """Texts that the engine computes together.

    Attributes:
        indices: Their indices among the submitted texts.
    """

    def __init__(
        self,
        indices: Sequence[int],
        truncated: Sequence[bool],
        labels: Sequence[str],
        logits: Future[Logits],
        temperature: float,
    ) -> None:
        self.indices = indices
        self._truncated = truncated
        self._labels = labels
        self._logits = logits
        self._temperature = temperature

    def probabilities(self) -> Probabilities:
        """Wait for the engine and return the calibrated softmax, of shape (texts, labels).

        Raises:
            Exception: What the engine raised.
        """
        return _softmax(self._logits.result() / np.float32(self._temperature))

    def predictions(self, *, all_scores: bool = False) -> list[Prediction]:
        """Wait for the engine and return the likeliest label of each text.

        Args:
            all_scores: Whether each prediction has the probability of every label.

        Raises:
            Exception: What the engine raised.
        """
        rows = self.probabilities()
        scores: list[dict[str, float] | None] = [None] * len(rows)
        if all_scores:
            scores = [dict(zip(self._labels, row, strict=True)) for row in rows.tolist()]
        # Of the logits: two that differ may round to equal probabilities.
        likeliest = self._logits.result().argmax(axis=1)
        return [
            Prediction(self._labels[label], score, truncated, every)
            for label, score, truncated, every in zip(
                likeliest.tolist(),
                rows[np.arange(len(rows)), likeliest].tolist(),
                self._truncated,
                scores,
                strict=True,
            )
        ]

    def cancel(self) -> None:
        """Cancel the computation, unless it has started."""
        self._logits.cancel()


class Classifier:
    """A sequence classifier for texts of any length; thread-safe.

    Attributes:
        encoder: Its tokenizer.
        engine: The engine that computes the logits.
        labels: The labels, in the order of the engine's outputs.
        queue: Batches that wait for the engine.
    """

    def __init__(
        self,
        folder: Path,
        engine: Engine,
        *,
        max_tokens: int,
        temperature: float = 1.0,
        callers: Executor | None = None,
    ) -> None:
        """Read the tokenizer and the labels.

        Args:
            folder: Written by `save_pretrained` of the model and of its tokenizer.
            engine: The engine with the same model.
            max_tokens: Longer texts are truncated to this many tokens.
            temperature: What the logits are divided by before the softmax.
            callers: The threads that call the engine; None for threads of its own.

        Raises:
            ArtifactError: If a file is missing or cannot be used, or the model cannot read
                `max_tokens`.
        """
        self.engine = engine
        self.labels = read_labels(folder)
        self.encoder = Encoder(folder, max_tokens=max_tokens)
        self._temperature = temperature
        threads = callers or ThreadPoolExecutor(engine.callers, thread_name_prefix="engine")
        self.queue = BatchQueue(self._logits, threads, engine.streams)

    def predict(
        self,
        texts: Sequence[str],
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
        *,
        all_scores: bool = False,
    ) -> list[Prediction]:
        """Return the likeliest label of each text, in the order given.

        Args:
            texts: Texts that UTF-8 can encode.
            batch_tokens: Padded tokens in a batch at most; a longer text is a batch alone.
            all_scores: Whether each prediction has the probability of every label.
        """
        rows_of = partial(Batch.predictions, all_scores=all_scores)
        return self._predict_rows(texts, batch_tokens, rows_of)

    def probabilities(
        self, texts: Sequence[str], batch_tokens: int = DEFAULT_BATCH_TOKENS
    ) -> Probabilities:
        """Return the calibrated softmax over `labels` of each text, of shape (texts, labels).

        Args:
            texts: Texts that UTF-8 can encode.
            batch_tokens: Padded tokens in a batch at most; a longer text is a batch alone.
        """
        rows = self._predict_rows(texts, batch_tokens, Batch.probabilities)
        return np.array(rows, np.float32).reshape(-1, len(self.labels))

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Return the tokens of each text.

        Args:
            texts: Texts that UTF-8 can encode.
        """
        return self.encoder.encode(texts)

    def submit(self, tokens: Sequence[Tokens], batch_tokens: int) -> list[Batch]:
        """Submit texts to the engine in batches of similar length.

        Args:
            tokens: What `encode` returned, or an equal one.
            batch_tokens: Padded tokens in a batch at most; a longer text is a batch alone.

        Returns:
            The batches in the order of their computation; each text is in one of them.
        """
        lengths = [min(padded_length(len(row.ids)), self.encoder.max_tokens) for row in tokens]
        batches, caller = [], object()
        for indices in split_into_batches(lengths, batch_tokens):
            rows = [tokens[index] for index in indices]
            logits = self.queue.submit(caller, rows, lengths[indices[0]], batch_tokens)
            truncated = [row.truncated for row in rows]
            batches.append(Batch(indices, truncated, self.labels, logits, self._temperature))
        return batches

    def _predict_rows(
        self, texts: Sequence[str], batch_tokens: int, rows_of: Callable[[Batch], Iterable[Row]]
    ) -> list[Row]:
        found: dict[int, Row] = {}
        submitted = self.submit(self.encode(texts), batch_tokens)
        try:
            for batch in submitted:
                found.update(zip(batch.indices, rows_of(batch), strict=True))
        finally:
            for batch in submitted:
                batch.cancel()
        return [found[index] for index in range(len(texts))]

    def _logits(self, rows: Sequence[Tokens], length: int) -> Logits:
        return self.engine.logits(self.encoder.pad(rows, length))


def _softmax(logits: Logits) -> Probabilities:
    with np.errstate(invalid="ignore"):  # NaN is refused row by row
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
        probabilities: Probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def read_labels(folder: Path) -> list[str]:
    """Return the labels of a fine-tuned model, in the order of its outputs.

    Raises:
        ArtifactError: If its `config.json` is missing or no JSON object.
    """
    # transformers does not write the default names of two labels.
    names = read_config(folder, "config.json").get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    return [str(name) for _, name in sorted(names.items(), key=lambda item: int(item[0]))]
