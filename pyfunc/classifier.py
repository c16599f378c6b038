"""Batched prediction with a fine-tuned transformer on torch."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from tokenizers import Encoding, Tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from .contract import Prediction
from .errors import ArtifactError
from .spec import Precision

DEFAULT_BATCH_TOKENS = 1_024


class Classifier:
    """A sequence classifier that answers batches of texts of any length, in any order."""

    def __init__(self, folder: Path, *, max_tokens: int, precision: Precision) -> None:
        """Load weights and tokenizer; nothing is downloaded.

        Args:
            folder: Written by `save_pretrained` of the model and of its tokenizer.
            max_tokens: Longer texts are cut to this many tokens.
            precision: `bf16` runs the matrix products in bfloat16, under autocast.

        Raises:
            ArtifactError: If the tokenizer is not one of the tokenizers library.
        """
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True)
        self._model = model.to(self._device).eval()
        self._precision = precision
        self.labels = [
            str(model.config.id2label[index]) for index in range(model.config.num_labels)
        ]

        wrapper = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._takes_token_types = "token_type_ids" in wrapper.model_input_names
        self._pad_id = int(wrapper.pad_token_id or 0)
        self._tokenizer = _bare_tokenizer(wrapper, folder, max_tokens)

    def predict(
        self, texts: Sequence[str], batch_tokens: int = DEFAULT_BATCH_TOKENS
    ) -> list[Prediction]:
        """Return the likeliest label of each text, in the order given.

        Args:
            texts: Texts that UTF-8 can encode.
            batch_tokens: Padded tokens in a batch at most; a longer text is a batch alone.
        """
        encodings = self._tokenizer.encode_batch(list(texts))
        return [
            self._likeliest(row, truncated=bool(encoding.overflowing))
            for row, encoding in zip(self._softmax(encodings, batch_tokens), encodings, strict=True)
        ]

    def probabilities(
        self, texts: Sequence[str], batch_tokens: int = DEFAULT_BATCH_TOKENS
    ) -> list[list[float]]:
        """Return the softmax over `labels` of each text: len(texts) rows of len(labels).

        Args:
            texts: Texts that UTF-8 can encode.
            batch_tokens: Padded tokens in a batch at most; a longer text is a batch alone.
        """
        return self._softmax(self._tokenizer.encode_batch(list(texts)), batch_tokens)

    def _likeliest(self, probabilities: list[float], *, truncated: bool) -> Prediction:
        score = max(probabilities)
        return Prediction(self.labels[probabilities.index(score)], score, truncated)

    def _softmax(self, encodings: Sequence[Encoding], batch_tokens: int) -> list[list[float]]:
        probabilities: dict[int, list[float]] = {}
        for rows in _batches([len(encoding) for encoding in encodings], batch_tokens):
            logits = self._logits([encodings[row] for row in rows])
            probabilities |= zip(rows, logits.softmax(dim=-1).tolist(), strict=True)
        return [probabilities[row] for row in range(len(encodings))]

    @torch.inference_mode()
    def _logits(self, batch: Sequence[Encoding]) -> torch.Tensor:
        width = max(len(encoding) for encoding in batch)
        inputs = {
            "input_ids": self._pad([encoding.ids for encoding in batch], width, self._pad_id),
            "attention_mask": self._pad([encoding.attention_mask for encoding in batch], width, 0),
        }
        if self._takes_token_types:
            inputs["token_type_ids"] = self._pad([e.type_ids for e in batch], width, 0)
        with self._number_format():
            logits: torch.Tensor = self._model(**inputs).logits
        return logits.float()

    def _pad(self, rows: list[list[int]], width: int, filler: int) -> torch.Tensor:
        padded = [row + [filler] * (width - len(row)) for row in rows]
        return torch.tensor(padded, device=self._device)

    def _number_format(self) -> AbstractContextManager[object]:
        if self._precision == "bf16":
            return torch.autocast(self._device.type, dtype=torch.bfloat16)
        return nullcontext()


def _bare_tokenizer(wrapper: object, folder: Path, max_tokens: int) -> Tokenizer:
    # transformers' wrapper sets truncation on every call, which fails with "Already borrowed"
    # when two threads do it (https://github.com/huggingface/tokenizers/issues/537).
    tokenizer = getattr(wrapper, "backend_tokenizer", None)
    if not isinstance(tokenizer, Tokenizer):
        raise ArtifactError(f"{folder}: expected a tokenizer of the tokenizers library")
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def _batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Yield row numbers, longest rows first, such that rows × longest ≤ `batch_tokens`."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > batch_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
