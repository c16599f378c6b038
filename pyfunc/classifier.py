"""Batched prediction with a fine-tuned transformer on torch."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from .contract import Prediction
from .errors import ArtifactError
from .spec import Precision

DEFAULT_BATCH_TOKENS = 1_024

# The tokenizer holds all of a text, up to 430 bytes a character, until it is cut.
_TOKENIZED_CHARACTERS = 250_000


@dataclass(frozen=True, slots=True)
class _Tokens:
    """A text as the transformer reads it; `truncated` if it was cut."""

    ids: list[int]
    types: list[int]
    truncated: bool


class Classifier:
    """A sequence classifier that answers batches of texts of any length, in any order."""

    def __init__(self, folder: Path, *, max_tokens: int, precision: Precision) -> None:
        """Load weights and tokenizer; nothing is downloaded.

        Args:
            folder: Written by `save_pretrained` of the model and of its tokenizer.
            max_tokens: Longer texts are cut to this many tokens.
            precision: `bf16` runs the matrix products in bfloat16, under autocast.

        Raises:
            ArtifactError: If a file is missing or cannot be used, the tokenizer is not one of the
                tokenizers library, or the model cannot read `max_tokens`.
        """
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model, wrapper = _load(folder)
        self._model = model.to(self._device).eval()
        self._precision = precision
        self.labels = [
            str(model.config.id2label[index]) for index in range(model.config.num_labels)
        ]

        self._vocabulary = int(model.get_input_embeddings().weight.shape[0])
        self._takes_token_types = "token_type_ids" in wrapper.model_input_names
        self._pad_id = int(wrapper.pad_token_id or 0)
        self._tokenizer = _bare_tokenizer(wrapper, folder)
        _check_max_tokens(folder, max_tokens, self._tokenizer, model.config)
        self._tokenizer.enable_truncation(max_tokens, direction=wrapper.truncation_side)

    def predict(
        self, texts: Sequence[str], batch_tokens: int = DEFAULT_BATCH_TOKENS
    ) -> list[Prediction]:
        """Return the likeliest label of each text, in the order given.

        Args:
            texts: Texts that UTF-8 can encode.
            batch_tokens: Padded tokens in a batch at most; a longer text is a batch alone.
        """
        tokens = self._tokenize(texts)
        return [
            self._likeliest(row, truncated=read.truncated)
            for row, read in zip(self._softmax(tokens, batch_tokens), tokens, strict=True)
        ]

    def probabilities(
        self, texts: Sequence[str], batch_tokens: int = DEFAULT_BATCH_TOKENS
    ) -> list[list[float]]:
        """Return the softmax over `labels` of each text: len(texts) rows of len(labels).

        Args:
            texts: Texts that UTF-8 can encode.
            batch_tokens: Padded tokens in a batch at most; a longer text is a batch alone.
        """
        return self._softmax(self._tokenize(texts), batch_tokens)

    def _tokenize(self, texts: Sequence[str]) -> list[_Tokens]:
        return [
            _Tokens(encoding.ids, encoding.type_ids, bool(encoding.overflowing))
            for part in _parts(texts, _TOKENIZED_CHARACTERS)
            for encoding in self._tokenizer.encode_batch(part)
        ]

    def _likeliest(self, probabilities: list[float], *, truncated: bool) -> Prediction:
        score = max(probabilities)
        return Prediction(self.labels[probabilities.index(score)], score, truncated)

    def _softmax(self, tokens: Sequence[_Tokens], batch_tokens: int) -> list[list[float]]:
        probabilities: dict[int, list[float]] = {}
        for rows in _batches([len(read.ids) for read in tokens], batch_tokens):
            logits = self._logits([tokens[row] for row in rows])
            probabilities |= zip(rows, logits.softmax(dim=-1).tolist(), strict=True)
        return [probabilities[row] for row in range(len(tokens))]

    @torch.inference_mode()
    def _logits(self, batch: Sequence[_Tokens]) -> torch.Tensor:
        # On CUDA such an id ends the context: from then on every call of the process fails.
        if max(max(read.ids, default=0) for read in batch) >= self._vocabulary:
            raise IndexError(f"a token id: expected less than {self._vocabulary}")
        width = max(len(read.ids) for read in batch)
        inputs = {
            "input_ids": self._pad([read.ids for read in batch], width, self._pad_id),
            "attention_mask": self._pad([[1] * len(read.ids) for read in batch], width, 0),
        }
        if self._takes_token_types:
            inputs["token_type_ids"] = self._pad([read.types for read in batch], width, 0)
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


def _load(folder: Path) -> tuple[Any, Any]:
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
        wrapper = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ArtifactError(
            f"{folder}: expected a classifier and its tokenizer: {reason}"
        ) from error
    # transformers draws weights that it misses at random, and would answer at random.
    if missing := sorted(report["missing_keys"]):
        raise ArtifactError(f"{folder}: expected the weights of a classifier, without {missing}")
    return model, wrapper


def _check_max_tokens(folder: Path, max_tokens: int, tokenizer: Tokenizer, config: Any) -> None:
    least = tokenizer.num_special_tokens_to_add(is_pair=False) + 1
    most = getattr(config, "max_position_embeddings", None) or max_tokens
    if not least <= max_tokens <= most:
        raise ArtifactError(f"{folder}: max_tokens: {max_tokens}; expected {least} to {most}")


def _bare_tokenizer(wrapper: Any, folder: Path) -> Tokenizer:
    # transformers' wrapper sets truncation on every call, which fails with "Already borrowed"
    # when two threads do it (https://github.com/huggingface/tokenizers/issues/537).
    tokenizer = getattr(wrapper, "backend_tokenizer", None)
    # Where the file is missing, transformers makes a tokenizer that knows no word.
    if not isinstance(tokenizer, Tokenizer) or not (folder / "tokenizer.json").is_file():
        raise ArtifactError(f"{folder}: expected tokenizer.json, of the tokenizers library")
    tokenizer.no_padding()
    return tokenizer


def _parts(texts: Sequence[str], characters: int) -> Iterator[list[str]]:
    """Yield `texts` in order, in lists of at most `characters`; a longer text comes alone."""
    part: list[str] = []
    total = 0
    for text in texts:
        if part and total + len(text) > characters:
            yield part
            part, total = [], 0
        part.append(text)
        total += len(text)
    if part:
        yield part


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
