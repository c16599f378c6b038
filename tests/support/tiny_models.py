"""A BERT of two layers with random weights and MiniLM's tokenizer: real parts, made small."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, BertModel

from tasks.training.base_models import base_model_folder
from tasks.training.finetuned_model import record_inputs

LABELS = ("negative", "positive")


def save_tiny_base(folder: Path) -> Path:
    """Save a model without a head, to be fine-tuned."""
    torch.manual_seed(0)
    BertModel(_tiny_config()).save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return folder


def save_tiny_classifier(folder: Path, *, seed: int, labels: Sequence[str] = LABELS) -> Path:
    """Save a classifier, ready to predict."""
    torch.manual_seed(seed)
    config = _tiny_config(id2label=dict(enumerate(labels)), initializer_range=0.5)
    BertForSequenceClassification(config).save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    record_inputs(folder)
    return folder


def _tiny_config(**fields: Any) -> BertConfig:
    return BertConfig(
        vocab_size=30_522,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        **fields,
    )


def _tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(base_model_folder("minilm"), local_files_only=True)
