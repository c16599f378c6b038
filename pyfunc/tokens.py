"""Tokenisation: texts to token ids, truncated and padded into batches."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from .errors import ArtifactError

Ids = npt.NDArray[np.int64]

INPUT_NAMES = ("input_ids", "attention_mask", "token_type_ids")

# Those that transformers passes for a tokenizer that names none.
_USUAL_NAMES = INPUT_NAMES[:2]

# The tokenizer needs up to 430 bytes a character until the text is truncated.
_TOKENIZED_CHARACTERS = 50_000


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a text.

    Attributes:
        ids: Token ids.
        types: Segment ids, or None if all are 0.
        truncated: Whether the text was truncated.
    """

    ids: npt.NDArray[np.int32]
    types: npt.NDArray[np.int32] | None
    truncated: bool


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Texts padded to one length; three arrays of shape (rows, length).

    Attributes:
        ids: Token ids, padded with the model's padding id.
        mask: 1 for a token, 0 for padding.
        types: Segment ids, padded with 0.
    """

    ids: Ids
    mask: Ids
    types: Ids

    def inputs(self, names: Iterable[str]) -> dict[str, Ids]:
        """Return the arrays that a model takes, by their names in transformers."""
        arrays = dict(zip(INPUT_NAMES, (self.ids, self.mask, self.types), strict=True))
        return {name: arrays[name] for name in names}


class Encoder:
    """The tokenizer of a fine-tuned model.

    Attributes:
        max_tokens: Longer texts are truncated to this many tokens.
        side: The side that they lose, `left` or `right`.
    """

    def __init__(self, folder: Path, *, max_tokens: int) -> None:
        """Read the tokenizer, without a download.

        Args:
            folder: Written by `save_pretrained` of the model and of its tokenizer.
            max_tokens: Longer texts are truncated to this many tokens.

        Raises:
            ArtifactError: If a file is missing or cannot be used, or the model cannot read
                `max_tokens`.
        """
        config = read_config(folder, "config.json")
        self._tokenizer = _load_tokenizer(folder)
        _check_max_tokens(folder, max_tokens, self._tokenizer, config)
        settings = read_config(folder, "tokenizer_config.json")
        self.max_tokens = max_tokens
        self.side = str(settings.get("truncation_side", "right"))
        self._tokenizer.enable_truncation(max_tokens, direction=self.side)
        # XLNet reads the last position, and so needs its padding in front.
        self._pads_left = settings.get("padding_side") == "left"
        self._vocabulary = int(config["vocab_size"])
        self._pad_id = int(config.get("pad_token_id") or 0)

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Return the tokens of each text.

        Args:
            texts: Texts that UTF-8 can encode.
        """
        return [
            Tokens(
                np.array(encoding.ids, np.int32),
                np.array(encoding.type_ids, np.int32) if any(encoding.type_ids) else None,
                bool(encoding.overflowing),
            )
            for part in chunk_texts(texts, _TOKENIZED_CHARACTERS)
            for encoding in self._tokenizer.encode_batch_fast(part)  # without offsets
        ]

    @cached_property
    def digest(self) -> str:
        """Digest of what decides the tokens of a text, apart from `max_tokens`."""
        content = json.loads(self._tokenizer.to_str())
        content["truncation"] = self.side
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def count_special_tokens(self, text: str) -> tuple[int, int]:
        """Return how many special tokens are put before a text, and how many after it.

        Args:
            text: One that has tokens of its own.
        """
        own = [not special for special in self._tokenizer.encode(text).special_tokens_mask]
        return own.index(True), own[::-1].index(True)

    def pad(self, rows: Sequence[Tokens], length: int = 0) -> TokenBatch:
        """Return a padded batch.

        Args:
            rows: At least one row of `encode`.
            length: Padded length in tokens, if no row is longer.

        Raises:
            IndexError: If the model has no embedding for a token.
        """
        shape = len(rows), max(length, *(len(row.ids) for row in rows))
        ids, mask, types = (np.full(shape, filler, np.int64) for filler in (self._pad_id, 0, 0))
        for index, row in enumerate(rows):
            tokens = len(row.ids)
            first = shape[1] - tokens if self._pads_left else 0
            place = index, slice(first, first + tokens)
            ids[place] = row.ids
            mask[place] = 1
            if row.types is not None:
                types[place] = row.types
        # On CUDA such an id breaks the context for the rest of the process; OpenVINO would read
        # memory beyond the table.
        if ids.max(initial=0) >= self._vocabulary:
            raise IndexError(f"a token id: expected less than {self._vocabulary}")
        return TokenBatch(ids, mask, types)


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """Read a JSON file of a fine-tuned model.

    Raises:
        ArtifactError: If it is missing or no JSON object.
    """
    try:
        config = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{folder}: expected a classifier and its tokenizer: {name} ({error})"
        ) from error
    if not isinstance(config, dict):
        raise ArtifactError(f"{folder / name}: expected a JSON object")
    return config


def read_input_names(folder: Path) -> list[str]:
    """Return the arrays of a `TokenBatch` that a model's tokenizer makes for it.

    A model may take more: GPT-2 adds the embedding of token 0 for each segment id of 0.

    Raises:
        ArtifactError: If `tokenizer_config.json` is missing or no JSON object.
    """
    names = read_config(folder, "tokenizer_config.json").get("model_input_names", _USUAL_NAMES)
    return [name for name in INPUT_NAMES if name in names]


def _load_tokenizer(folder: Path) -> Tokenizer:
    # Not through transformers: its wrapper sets truncation on every call, which raises "Already
    # borrowed" in two threads at once
    # (https://github.com/huggingface/tokenizers/issues/537).
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises no narrower class
        raise ArtifactError(
            f"{folder}: expected tokenizer.json, of the tokenizers library ({error})"
        ) from error
    tokenizer.no_padding()
    return tokenizer


def _check_max_tokens(
    folder: Path, max_tokens: int, tokenizer: Tokenizer, config: dict[str, Any]
) -> None:
    least = tokenizer.num_special_tokens_to_add(is_pair=False) + 1
    most = config.get("max_position_embeddings") or max_tokens
    if not least <= max_tokens <= most:
        raise ArtifactError(f"{folder}: max_tokens: {max_tokens}; expected {least} to {most}")


def chunk_texts(texts: Sequence[str], characters: int) -> Iterator[list[str]]:
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
