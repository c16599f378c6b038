"""Random classifiers of other families than BERT, with tokenizers of a hundred words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    FlaubertConfig,
    GPT2Config,
    GPTNeoConfig,
    OpenAIGPTConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    XLMConfig,
    XLNetConfig,
)

SPECIAL = ("<s>", "</s>", "<pad>", "<unk>", "<cls>")
WORDS = ["a", "great", "awful", "film", "number", "movie", "good", "bad", "the", "is", "what", "of"]
VOCABULARY = {word: row for row, word in enumerate([*SPECIAL, *WORDS, *map(str, range(83))])}
PAD = VOCABULARY["<pad>"]

SENTENCES = [
    " ".join(WORDS[: row % len(WORDS) + 1] + [str(row)] * (row % 3 + 1)) for row in range(41)
]

_COMMON: dict[str, Any] = {
    "vocab_size": len(VOCABULARY),
    "pad_token_id": PAD,
    "id2label": {row: f"label {row}" for row in range(5)},
}
_GPT: dict[str, Any] = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64} | _COMMON
_XLM: dict[str, Any] = {
    "emb_dim": 16,
    "pad_index": PAD,
    "n_layers": 2,
    "n_heads": 2,
    "max_position_embeddings": 64,
    "embed_init_std": 0.5,
    "init_std": 0.5,
} | _COMMON

FAMILIES: dict[str, Callable[[], PretrainedConfig]] = {
    "gpt2": lambda: GPT2Config(initializer_range=0.5, **_GPT),
    "gpt-neo": lambda: GPTNeoConfig(
        hidden_size=16,
        num_layers=2,
        num_heads=2,
        attention_types=[[["global", "local"], 1]],
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.5,
        **_COMMON,
    ),
    "openai-gpt": lambda: OpenAIGPTConfig(initializer_range=0.5, **_GPT),
    "xlm": lambda: XLMConfig(**_XLM),
    "flaubert": lambda: FlaubertConfig(**_XLM),
    "xlnet": lambda: XLNetConfig(
        d_model=16, n_layer=2, n_head=2, d_inner=32, initializer_range=0.5, **_COMMON
    ),
}


def word_tokenizer(**settings: Any) -> PreTrainedTokenizerFast:
    """Return a tokenizer of the hundred words."""
    words = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    usual: dict[str, Any] = {"pad_token": "<pad>", "unk_token": "<unk>", "model_max_length": 32}
    return PreTrainedTokenizerFast(tokenizer_object=words, **usual | settings)


def xlnet_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer that ends a text as XLNet's does, in a segment of its own."""
    tokenizer = word_tokenizer(
        padding_side="left",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A:0 </s>:0 <cls>:2",
        special_tokens=[(name, VOCABULARY[name]) for name in ("</s>", "<cls>")],
    )
    return tokenizer


def save_classifier(folder: Path, family: str) -> Path:
    """Write a random classifier of a family, with its tokenizer, as `save_pretrained` does."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(FAMILIES[family]())
    model.save_pretrained(folder)
    tokenizer = xlnet_tokenizer() if family == "xlnet" else word_tokenizer()
    tokenizer.save_pretrained(folder)
    return folder
